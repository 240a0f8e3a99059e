"""A person logs in to OpenBao with a password and a code, for one act; the token is revoked when the act ends.

The terminal logs in (`login`) and hands the token to the worker over a pipe; the worker asks OpenBao whose it is
(`present`) and never believes a name. What a person signs is signed inside OpenBao, with a key that only they may use.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable
from wellspring.project import PROJECT_FILE, Project
from wellspring.trust.identity.openbao import map_errors, open_client
from wellspring.trust.identity.port import Principal

TRANSIT_MOUNT = "users"
"""The transit engine that holds one Ed25519 key a person, and the policy's name for who may sign with it."""
SIGNING_POLICY = "user"
USER_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,30}")
TOKEN_TTL_SECONDS = 60
"""A person's token ends by itself after this long, used or not."""


class UserToken:
    """What a login gives: good for one act, within a minute. It is shown nowhere: `repr` hides it."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __repr__(self) -> str:
        return "PersonToken(...)"


class LoggedInUser:
    """Somebody who is here now, as OpenBao knows them. public: 32 bytes of their Ed25519 key."""

    def __init__(self, client: Any, principal: Principal) -> None:
        self.principal = principal
        self.name = principal.name.removeprefix("user:")
        self._transit: Any = client.secrets.transit
        with map_errors(f"read the public key of {principal.name}"):
            response: Any = self._transit.read_key(name=self.name, mount_point=TRANSIT_MOUNT)
        self.public_key = base64.b64decode(response["data"]["keys"]["1"]["public_key"])

    @property
    def key_id(self) -> str:
        """The key's id."""
        return public_key_id(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature, made inside OpenBao with this person's own key."""
        with map_errors(f"sign for {self.principal.name}"):
            response: Any = self._transit.sign_data(
                name=self.name, hash_input=base64.b64encode(message).decode(), key_version=1, mount_point=TRANSIT_MOUNT
            )
        return base64.b64decode(str(response["data"]["signature"]).rpartition(":")[2])


def public_key_id(public_key: bytes) -> str:
    """Name a public key: 16 hex of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def login_user(socket: Path, name: str, password: str, code: str) -> UserToken:
    """Log in as a person. A code works once, for 30 seconds and one such step before and after.

    Raises Refused, without saying which of the three was wrong; Unavailable without a server.
    """
    # Only digits may come near the code's check: a code with a blank would be another code to whoever counts uses.
    if not USER_NAME_PATTERN.fullmatch(name) or not re.fullmatch(r"[0-9]{6}", code):
        raise _login_refused()
    client = open_client(socket)
    try:
        with map_errors("log in"):
            response: Any = client.adapter.post(f"/v1/auth/userpass/login/{name}", json={"password": password})
        auth = response["auth"]
        if auth["client_token"]:
            # Never without a code: the server was set up by another hand.
            client.token = str(auth["client_token"])
            _revoke_self(client)
            raise CorruptedError("OpenBao let a person in without a code", fix="stop: its login enforcement is gone")
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


@contextmanager
def resume_session(project: Project, token: str) -> Generator[LoggedInUser]:
    """Ask OpenBao whose token this is, and let that person act; however the act ends, the token is revoked.

    Raises Refused for a token that is spent, too old, or no person's, and for somebody whom wellspring.toml does not
    name; Unavailable without a server.
    """
    client = open_client(project.socket_path("openbao"), token)
    try:
        yield LoggedInUser(client, _lookup_principal(client, project))
    finally:
        _revoke_self(client)
        client.adapter.close()


def revoke_token(socket: Path, token: str) -> None:
    """End a login, used or not; again, or without a server, changes nothing."""
    client = open_client(socket, token)
    try:
        _revoke_self(client)
    finally:
        client.adapter.close()


def _lookup_principal(client: Any, project: Project) -> Principal:
    try:
        with map_errors("say whose login this is"):
            token_info: Any = client.auth.token.lookup_self()["data"]
    except Refused:
        raise Refused(
            "this login is spent, or older than a minute", fix="run the command again, and log in anew"
        ) from None
    metadata: dict[str, Any] = token_info.get("meta") or {}
    name = str(metadata.get("username", ""))
    if token_info.get("path") != f"auth/userpass/login/{name}" or token_info.get("policies") != [SIGNING_POLICY]:
        raise Refused("this login is no person's", fix="log in with a name, a password and a code")
    if name not in project.users:
        raise Refused(
            f"{project.root / PROJECT_FILE} names nobody [users.{name}]",
            fix="ask the project's owner to name them, with their roles",
        )
    return Principal(f"user:{name}", tuple(project.users[name].roles))


def _mfa_method(requirement: Any) -> tuple[str, str]:
    """Return the one method that a login demands, and the request that it is answered under."""
    methods = {
        str(method["id"]) for constraint in requirement["mfa_constraints"].values() for method in constraint["any"]
    }
    if len(methods) != 1:
        raise CorruptedError(
            "OpenBao demands not exactly one code of a person", fix="stop: its login enforcement was changed"
        )
    return methods.pop(), str(requirement["mfa_request_id"])


def _revoke_self(client: Any) -> None:
    try:
        with map_errors("end a person's login"):
            client.auth.token.revoke_self()
    except (Refused, NotFound, Unavailable):
        # It was over already, or ends by itself within a minute: nobody can use it for longer.
        pass


def _login_refused() -> Refused:
    return Refused(
        "name, password or code is wrong, the code was used before, or too many were tried",
        fix="wait for the authenticator's next code, then try again",
    )
