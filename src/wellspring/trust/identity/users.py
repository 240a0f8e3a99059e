"""Log users in to OpenBao with a password and a code for one action; the token is revoked after the action.

A project in development has a second login, without a code, whose users sign with other keys. `up` removes it when it
makes the project governed.

The command line logs in (`login_user`), looks up the user of the token in OpenBao (`resume_session`), and lets them
sign the note of their act (`trust.user_notes`) inside OpenBao, with a key that only they can use.

OpenBao counts wrong passwords by name, whoever sends them. So the path of the login is a secret that only the project's
owner can read: a service that reaches OpenBao's socket can neither try a password nor lock a user out.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable
from wellspring.project import PROJECT_FILE, Project
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.unix_socket import ServerSocket
from wellspring.trust.identity.openbao import map_errors, open_client
from wellspring.trust.identity.port import Principal

TRANSIT_MOUNT = "users"
"""The transit engine with one Ed25519 key per user."""
SIGNING_POLICY = "user"
"""The OpenBao policy that lets users sign with their keys."""
DEVELOPMENT_TRANSIT_MOUNT, DEVELOPMENT_SIGNING_POLICY = "development", "development-user"
"""The same of the login without a code."""
USER_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,30}")
TOKEN_TTL_SECONDS = 60
"""Seconds after which a user's token expires, used or not."""


LOGIN_PATH_FILE = "login-path"
"""File of the project's state that names the auth method of users at OpenBao, and below it that of development.

Only the owner can read it.
"""


def read_login_mount(project: Project) -> str:
    """Return the secret name of the auth method of users, in the mode of wellspring.toml.

    Raises Refused for another user than the owner, and for development in a project that has no login for it.
    """
    path = project.state_dir / LOGIN_PATH_FILE
    try:
        mount, *development_mounts = path.read_text(encoding="ascii").split()
    except PermissionError:
        raise Refused(
            f"users of {project.root} log in under its owner only", fix="run as the user who ran `wellspring up`"
        ) from None
    except FileNotFoundError:
        raise Unavailable(
            f"{path} is missing: no user of this project can log in",
            fix="run `wellspring up`; if an older version created the project, then `wellspring clean` and "
            "`wellspring up`",
        ) from None
    if project.project.mode == "governed":
        return mount
    if not development_mounts:
        raise Refused(
            f"{project.root} has no login without a code: it was created governed, or became governed",
            fix=f'write mode = "governed" in {project.root / PROJECT_FILE}',
        )
    return development_mounts[0]


def select_transit_mount(project: Project) -> str:
    """Return the transit engine with the keys of the users who log in, in the mode of wellspring.toml."""
    return DEVELOPMENT_TRANSIT_MOUNT if project.project.mode == "development" else TRANSIT_MOUNT


class UserToken:
    """The token of a login, for one action within a minute. `repr` hides it."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __repr__(self) -> str:
        return "UserToken(...)"


class LoggedInUser:
    """A logged-in user. public_key: 32 bytes, Ed25519. mount: of the transit engine with the user's key."""

    def __init__(self, client: Any, principal: Principal, mount: str = TRANSIT_MOUNT) -> None:
        self._mount = mount
        self.principal = principal
        self.name = principal.name.removeprefix("user:")
        self._transit: Any = client.secrets.transit
        with map_errors(f"read the public key of {principal.name}"):
            response: Any = self._transit.read_key(name=self.name, mount_point=mount)
        self.public_key = base64.b64decode(response["data"]["keys"]["1"]["public_key"])

    @property
    def key_id(self) -> str:
        """The id of the user's key."""
        return public_key_id(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature, made inside OpenBao with the user's key."""
        with map_errors(f"sign for {self.principal.name}"):
            response: Any = self._transit.sign_data(
                name=self.name, hash_input=base64.b64encode(message).decode(), key_version=1, mount_point=self._mount
            )
        return base64.b64decode(str(response["data"]["signature"]).rpartition(":")[2])


def public_key_id(public_key: bytes) -> str:
    """Return the id of a public key: 16 hex digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def login_user(socket: ServerSocket, name: str, password: str, code: str, *, mount: str) -> UserToken:
    """Log a user in. A code is valid once, for its 30 seconds and one time step before and after.

    mount: the name that `read_login_mount` returns. Five wrong passwords within 15 minutes lock a name for a minute.
    Raises Refused, without revealing which of name, password and code was wrong; Unavailable if the server does not
    respond.
    """
    # Pass only digits on: OpenBao's counter of used codes would treat a code with a space as another code.
    if not USER_NAME_PATTERN.fullmatch(name) or not re.fullmatch(r"[0-9]{6}", code):
        raise _login_refused()
    client = open_client(socket)
    try:
        with map_errors("log in"):
            response: Any = client.adapter.post(f"/v1/auth/{mount}/login/{name}", json={"password": password})
        auth = response["auth"]
        if auth["client_token"]:
            # A login without a code means that the server has another configuration.
            client.token = str(auth["client_token"])
            _revoke_self(client)
            raise CorruptedError(
                "OpenBao accepted a login without a code", fix="stop: its login enforcement is missing"
            )
        method, request = _mfa_method(auth["mfa_requirement"])
        with map_errors("log in"):
            mfa_response: Any = client.adapter.post(
                "/v1/sys/mfa/validate", json={"mfa_request_id": request, "mfa_payload": {method: [code]}}
            )
        return UserToken(str(mfa_response["auth"]["client_token"]))
    except (Refused, NotFound):
        raise _login_refused() from None
    finally:
        client.adapter.close()


def login_development_user(socket: ServerSocket, name: str, password: str, *, mount: str) -> UserToken:
    """Log a user of a project in development in, without a code. mount: the name that `read_login_mount` returns.

    Raises Refused, without revealing whether name or password was wrong; Unavailable if the server does not respond.
    """
    if not USER_NAME_PATTERN.fullmatch(name):
        raise _login_refused()
    client = open_client(socket)
    try:
        with map_errors("log in"):
            response: Any = client.adapter.post(f"/v1/auth/{mount}/login/{name}", json={"password": password})
        return UserToken(str(response["auth"]["client_token"]))
    except (Refused, NotFound):
        raise _login_refused() from None
    finally:
        client.adapter.close()


@contextmanager
def resume_session(project: Project, token: str) -> Generator[LoggedInUser]:
    """Look up the user of a token in OpenBao, for one action; the token is revoked afterwards in any case.

    Raises Refused for a token that was used, expired or does not belong to a user, and for a user who is not in
    wellspring.toml; Unavailable if the server does not respond.
    """
    client = open_client(find_server_socket(project, "openbao"), token)
    try:
        yield LoggedInUser(client, _lookup_principal(client, project), select_transit_mount(project))
    finally:
        _revoke_self(client)
        client.adapter.close()


def _lookup_principal(client: Any, project: Project) -> Principal:
    try:
        with map_errors("look up this login"):
            token_info: Any = client.auth.token.lookup_self()["data"]
    except Refused:
        raise Refused(
            "this login was used before, or is older than a minute", fix="run the command again, and log in again"
        ) from None
    metadata: dict[str, Any] = token_info.get("meta") or {}
    name = str(metadata.get("username", ""))
    signing_policy = DEVELOPMENT_SIGNING_POLICY if project.project.mode == "development" else SIGNING_POLICY
    if token_info.get("path") != f"auth/{read_login_mount(project)}/login/{name}" or token_info.get("policies") != [
        signing_policy
    ]:
        raise Refused("this login does not belong to a user", fix="log in with a name, a password and a code")
    if name not in project.users:
        raise Refused(
            f"{project.root / PROJECT_FILE} has no [users.{name}]",
            fix="ask the project's owner to add the user, with roles",
        )
    return Principal(f"user:{name}", tuple(project.users[name].roles))


def _mfa_method(requirement: Any) -> tuple[str, str]:
    """Return the only MFA method of a login, and the id of the MFA request."""
    methods = {
        str(method["id"]) for constraint in requirement["mfa_constraints"].values() for method in constraint["any"]
    }
    if len(methods) != 1:
        raise CorruptedError(
            "OpenBao does not require exactly one code of a user", fix="stop: its login enforcement was changed"
        )
    return methods.pop(), str(requirement["mfa_request_id"])


def _revoke_self(client: Any) -> None:
    try:
        with map_errors("end a user's login"):
            client.auth.token.revoke_self()
    except (Refused, NotFound, Unavailable):
        # The token is revoked already, or expires within a minute.
        pass


def _login_refused() -> Refused:
    return Refused(
        "name, password or code is wrong, the code was used before, or there were too many attempts",
        fix="wait a minute, for the authenticator's next code, then try again",
    )
