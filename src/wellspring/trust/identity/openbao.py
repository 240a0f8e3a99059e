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

TIMEOUT = 15.0
RENEW_AFTER = 1 / 3


def connect(socket: Path, token: str = "") -> hvac.Client:
    """Open a client of the OpenBao behind this socket; without a token it may only log in.

    The empty token is passed on purpose: hvac would else take one from the environment or from ~/.vault-token.
    """
    import hvac

    return hvac.Client(url="http://openbao", token=token, session=_session(socket), timeout=TIMEOUT)


def _session(path: Path) -> requests.Session:
    """Make an HTTP session that speaks over one Unix socket, and closes it also when nobody answers there."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection
    from urllib3.connectionpool import HTTPConnectionPool

    class Connection(HTTPConnection):
        def connect(self) -> None:
            self.sock = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
            try:
                self.sock.settimeout(TIMEOUT)
                self.sock.connect(os.fspath(path))
            except OSError:
                self.close()
                raise

    class Pool(HTTPConnectionPool):
        def _new_conn(self) -> Any:
            return Connection("openbao", timeout=TIMEOUT)

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
def answering(what: str) -> Generator[None]:
    """Turn what hvac and requests raise into the house's errors. what: what was asked, without any value."""
    from hvac import exceptions as vault
    from requests.exceptions import RequestException

    try:
        yield
    except (vault.Forbidden, vault.Unauthorized, vault.InvalidRequest):
        raise Refused(
            f"OpenBao refused to {what}", fix="ask whoever owns the policy; the reason stands in OpenBao's audit log"
        ) from None
    except vault.InvalidPath:
        raise NotFound(f"OpenBao has nothing there: {what}", fix="check the name") from None
    except (vault.VaultError, RequestException):
        raise Unavailable(f"OpenBao did not answer: {what}", fix="run `wellspring up`, or retry later") from None


class OpenBaoSession:
    """One login, renewed at a third of its period until it is closed; closing revokes it."""

    def __init__(self, socket: Path, token: str, principal: Principal, *, period: float) -> None:
        self.client = connect(socket, token)
        self._principal = principal
        # The renewal has a client of its own: a requests session is not shared between threads.
        self._renewal = connect(socket, token)
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._renew, args=(period * RENEW_AFTER,), name=f"renew {principal.name}", daemon=True
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
            with answering("end this login"):
                self.client.auth.token.revoke_self()
        except (Refused, Unavailable):
            # A login that cannot be revoked now ends by itself within its period.
            pass
        finally:
            self.client.adapter.close()
            self._renewal.adapter.close()

    def __enter__(self) -> OpenBaoSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _renew(self, every: float) -> None:
        wait = every
        while not self._closed.wait(wait):
            try:
                with answering("renew this login"):
                    self._renewal.auth.token.renew_self()
                wait = every
            except Unavailable:
                # OpenBao may be restarting: ask again soon, while the login still lives.
                wait = min(every, 5.0)
            except (Refused, NotFound):
                return


def login(socket: Path, *, role_id: str, wrapped: str) -> OpenBaoSession:
    """Unwrap the secret-id and log in with it; neither works a second time.

    Raises Refused when the wrapping was opened before or is older than its 60 seconds; Unavailable without a server.
    """
    opener = connect(socket, wrapped)
    try:
        with answering("open a wrapped secret-id"):
            unwrapped: Any = opener.adapter.post("/v1/sys/wrapping/unwrap")
        secret_id = str(unwrapped["data"]["secret_id"])
    except Refused:
        raise Refused(
            "the wrapped secret-id was opened before, or is older than 60 seconds",
            fix="ask the supervisor for another; if nobody here opened it, somebody else did: read OpenBao's audit log",
        ) from None
    finally:
        opener.adapter.close()
    client = connect(socket)
    try:
        with answering("log in"):
            answer: Any = client.auth.approle.login(role_id=role_id, secret_id=secret_id, use_token=False)
    finally:
        client.adapter.close()
    auth = answer["auth"]
    principal = Principal(f"service:{auth['metadata']['role_name']}")
    return OpenBaoSession(socket, str(auth["client_token"]), principal, period=float(auth["lease_duration"]))
