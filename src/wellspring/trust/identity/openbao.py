"""Log in to OpenBao over its Unix socket with an AppRole and a single-use wrapped secret-id."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.runtime.unix_socket import ServerSocket, connect_unix_socket
from wellspring.trust.identity.port import Principal

if TYPE_CHECKING:
    import hvac
    import requests

REQUEST_TIMEOUT = 15.0
RENEW_FRACTION = 1 / 3


def open_client(socket: ServerSocket, token: str = "") -> hvac.Client:
    """Open an OpenBao client on this socket; without a token it can only log in.

    The empty token is passed explicitly: otherwise hvac reads one from the environment or from ~/.vault-token.
    """
    import hvac

    return hvac.Client(url="http://openbao", token=token, session=_open_unix_session(socket), timeout=REQUEST_TIMEOUT)


def _open_unix_session(server: ServerSocket) -> requests.Session:
    """Create an HTTP session over a Unix socket, the server of which is checked at each connect."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection
    from urllib3.connectionpool import HTTPConnectionPool

    class Connection(HTTPConnection):
        def connect(self) -> None:
            self.sock = connect_unix_socket(server, REQUEST_TIMEOUT)

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
    # Without proxies and .netrc: these requests never leave the machine.
    session.trust_env = False
    session.mount("http://openbao", Adapter())
    return session


@contextmanager
def map_errors(operation: str) -> Generator[None]:
    """Translate the errors of hvac and requests. operation: for the message, without secret values."""
    from hvac import exceptions as vault
    from requests.exceptions import RequestException

    try:
        yield
    except (vault.Forbidden, vault.Unauthorized, vault.InvalidRequest):
        raise Refused(
            f"OpenBao refused to {operation}",
            fix="ask the owner of the policy; OpenBao's audit log has the reason",
        ) from None
    except vault.InvalidPath:
        raise NotFound(f"OpenBao found nothing: {operation}", fix="check the name") from None
    except (vault.VaultError, RequestException):
        raise Unavailable(f"OpenBao did not respond: {operation}", fix="run `wellspring up`, or retry later") from None


class OpenBaoSession:
    """A login that is renewed after each third of its period until it is closed; closing revokes it.

    on_lost: called by the renewal thread, once, when OpenBao no longer accepts the login.
    """

    def __init__(
        self,
        socket: ServerSocket,
        token: str,
        principal: Principal,
        *,
        period: float,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self.client = open_client(socket, token)
        self._principal = principal
        self._on_lost = on_lost
        # The renewal thread has its own client: a requests session must not be shared between threads.
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
        """Revoke the login; later calls with it are refused. Closing again has no effect."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._thread.join()
        try:
            with map_errors("end this login"):
                self.client.auth.token.revoke_self()
        except (Refused, Unavailable):
            # A login that cannot be revoked expires within its period.
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
                # OpenBao may be restarting: retry soon, while the login is valid.
                delay = min(interval, 5.0)
            except (Refused, NotFound):
                if self._on_lost is not None:
                    self._on_lost()
                return


def login_service(
    socket: ServerSocket, *, role_id: str, wrapped_secret_id: str, on_lost: Callable[[], None] | None = None
) -> OpenBaoSession:
    """Unwrap the secret-id and log in with it; both are single-use. on_lost: see OpenBaoSession.

    Raises Refused if it was unwrapped before or is older than 60 seconds, Unavailable if the server does not respond.
    """
    unwrap_client = open_client(socket, wrapped_secret_id)
    try:
        with map_errors("unwrap a secret-id"):
            unwrapped: Any = unwrap_client.adapter.post("/v1/sys/wrapping/unwrap")
        secret_id = str(unwrapped["data"]["secret_id"])
    except Refused:
        raise Refused(
            "the wrapped secret-id was unwrapped before, or is older than 60 seconds",
            fix="request another from the supervisor; if no process here unwrapped it, see OpenBao's audit log",
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
    period = float(auth["lease_duration"])
    return OpenBaoSession(socket, str(auth["client_token"]), principal, period=period, on_lost=on_lost)
