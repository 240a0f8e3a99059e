"""Log in to OpenBao over its Unix socket with an AppRole and a wrapped secret-id that works once."""

from __future__ import annotations

import os
import socket as sockets
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.trust.identity.port import Principal

if TYPE_CHECKING:
    import hvac
    import requests

REQUEST_TIMEOUT = 15.0
RENEW_FRACTION = 1 / 3


def open_client(socket: Path, token: str = "") -> hvac.Client:
    """Open a client of the OpenBao behind this socket; without a token it may only log in.

    The empty token is passed on purpose: hvac would else take one from the environment or from ~/.vault-token.
    """
    import hvac

    return hvac.Client(url="http://openbao", token=token, session=_open_unix_session(socket), timeout=REQUEST_TIMEOUT)


def _open_unix_session(path: Path) -> requests.Session:
    """Make an HTTP session that speaks over one Unix socket, and closes it also when nobody answers there."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection
    from urllib3.connectionpool import HTTPConnectionPool

    class Connection(HTTPConnection):
        def connect(self) -> None:
            self.sock = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
            try:
                self.sock.settimeout(REQUEST_TIMEOUT)
                self.sock.connect(os.fspath(path))
            except OSError:
                self.close()
                raise

    class Pool(HTTPConnectionPool):
        def _new_conn(self) -> Any:
            return Connection("openbao", timeout=REQUEST_TIMEOUT)

    class Adapter(HTTPAdapter):
        def __init__(self) -> None:
            super().__init__()
            self._pool = Pool("openbao")

        def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Pool:
            return self._pool

        def close(self) -> None:
            self._pool.close()
            super().close()

    session = requests.Session()
    # No proxy, no .netrc: this conversation never leaves the machine.
    session.trust_env = False
    session.mount("http://openbao", Adapter())
    return session


@contextmanager
def map_errors(operation: str) -> Generator[None]:
    """Turn what hvac and requests raise into the house's errors. what: what was asked, without any value."""
    from hvac import exceptions as vault
    from requests.exceptions import RequestException

    try:
        yield
    except (vault.Forbidden, vault.Unauthorized, vault.InvalidRequest):
        raise Refused(
            f"OpenBao refused to {operation}",
            fix="ask whoever owns the policy; the reason stands in OpenBao's audit log",
        ) from None
    except vault.InvalidPath:
        raise NotFound(f"OpenBao has nothing there: {operation}", fix="check the name") from None
    except (vault.VaultError, RequestException):
        raise Unavailable(f"OpenBao did not answer: {operation}", fix="run `wellspring up`, or retry later") from None


class OpenBaoSession:
    """One login, renewed at a third of its period until it is closed; closing revokes it."""

    def __init__(self, socket: Path, token: str, principal: Principal, *, period: float) -> None:
        self.client = open_client(socket, token)
        self._principal = principal
        # The renewal has a client of its own: a requests session is not shared between threads.
        self._renewal_client = open_client(socket, token)
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._renew, args=(period * RENEW_FRACTION,), name=f"renew {principal.name}", daemon=True
        )
        self._thread.start()

    @property
    def principal(self) -> Principal:
        return self._principal

    def close(self) -> None:
        """Revoke the login; every later call with it is refused. Closing again changes nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._thread.join()
        try:
            with map_errors("end this login"):
                self.client.auth.token.revoke_self()
        except (Refused, Unavailable):
            # A login that cannot be revoked now ends by itself within its period.
            pass
        finally:
            self.client.adapter.close()
            self._renewal_client.adapter.close()

    def __enter__(self) -> OpenBaoSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _renew(self, interval: float) -> None:
        delay = interval
        while not self._closed.wait(delay):
            try:
                with map_errors("renew this login"):
                    self._renewal_client.auth.token.renew_self()
                delay = interval
            except Unavailable:
                # OpenBao may be restarting: ask again soon, while the login still lives.
                delay = min(interval, 5.0)
            except (Refused, NotFound):
                return


def login_service(socket: Path, *, role_id: str, wrapped_secret_id: str) -> OpenBaoSession:
    """Unwrap the secret-id and log in with it; neither works a second time.

    Raises Refused when the wrapping was opened before or is older than its 60 seconds; Unavailable without a server.
    """
    unwrap_client = open_client(socket, wrapped_secret_id)
    try:
        with map_errors("open a wrapped secret-id"):
            unwrapped: Any = unwrap_client.adapter.post("/v1/sys/wrapping/unwrap")
        secret_id = str(unwrapped["data"]["secret_id"])
    except Refused:
        raise Refused(
            "the wrapped secret-id was opened before, or is older than 60 seconds",
            fix="ask the supervisor for another; if nobody here opened it, somebody else did: read OpenBao's audit log",
        ) from None
    finally:
        unwrap_client.adapter.close()
    client = open_client(socket)
    try:
        with map_errors("log in"):
            response: Any = client.auth.approle.login(role_id=role_id, secret_id=secret_id, use_token=False)
    finally:
        client.adapter.close()
    auth = response["auth"]
    principal = Principal(f"service:{auth['metadata']['role_name']}")
    return OpenBaoSession(socket, str(auth["client_token"]), principal, period=float(auth["lease_duration"]))
