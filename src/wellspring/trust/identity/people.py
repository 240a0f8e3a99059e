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

from wellspring.errors import Broken, NotFound, Refused, Unavailable
from wellspring.project import FILE, Project
from wellspring.trust.identity.openbao import answering, connect
from wellspring.trust.identity.port import Principal

MOUNT = "people"
"""The transit engine that holds one Ed25519 key a person, and the policy's name for who may sign with it."""
POLICY = "person"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
SECONDS = 60
"""A person's token ends by itself after this long, used or not."""


class PersonToken:
    """What a login gives: good for one act, within a minute. It is shown nowhere: `repr` hides it."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __repr__(self) -> str:
        return "PersonToken(...)"


class Person:
    """Somebody who is here now, as OpenBao knows them. public: 32 bytes of their Ed25519 key."""

    def __init__(self, client: Any, principal: Principal) -> None:
        self.principal = principal
        self.name = principal.name.removeprefix("user:")
        self._transit: Any = client.secrets.transit
        with answering(f"read the public key of {principal.name}"):
            answer: Any = self._transit.read_key(name=self.name, mount_point=MOUNT)
        self.public = base64.b64decode(answer["data"]["keys"]["1"]["public_key"])

    @property
    def key(self) -> str:
        """The key's id."""
        return key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature, made inside OpenBao with this person's own key."""
        with answering(f"sign for {self.principal.name}"):
            answer: Any = self._transit.sign_data(
                name=self.name, hash_input=base64.b64encode(message).decode(), key_version=1, mount_point=MOUNT
            )
        return base64.b64decode(str(answer["data"]["signature"]).rpartition(":")[2])


def key_id(public: bytes) -> str:
    """Name a public key: 16 hex of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def login(socket: Path, name: str, password: str, code: str) -> PersonToken:
    """Log in as a person. A code works once, for 30 seconds and one such step before and after.

    Raises Refused, without saying which of the three was wrong; Unavailable without a server.
    """
    # Only digits may come near the code's check: a code with a blank would be another code to whoever counts uses.
    if not NAME.fullmatch(name) or not re.fullmatch(r"[0-9]{6}", code):
        raise _refused()
    client = connect(socket)
    try:
        with answering("log in"):
            asked: Any = client.adapter.post(f"/v1/auth/userpass/login/{name}", json={"password": password})
        auth = asked["auth"]
        if auth["client_token"]:
            # Never without a code: the server was set up by another hand.
            client.token = str(auth["client_token"])
            _revoke(client)
            raise Broken("OpenBao let a person in without a code", fix="stop: its login enforcement is gone")
        method, request = _demanded(auth["mfa_requirement"])
        with answering("log in"):
            answer: Any = client.adapter.post(
                "/v1/sys/mfa/validate", json={"mfa_request_id": request, "mfa_payload": {method: [code]}}
            )
        return PersonToken(str(answer["auth"]["client_token"]))
    except (Refused, NotFound):
        raise _refused() from None
    finally:
        client.adapter.close()


@contextmanager
def present(project: Project, token: str) -> Generator[Person]:
    """Ask OpenBao whose token this is, and let that person act; however the act ends, the token is revoked.

    Raises Refused for a token that is spent, too old, or no person's, and for somebody whom wellspring.toml does not
    name; Unavailable without a server.
    """
    client = connect(project.socket("openbao"), token)
    try:
        yield Person(client, _whose(client, project))
    finally:
        _revoke(client)
        client.adapter.close()


def revoke(socket: Path, token: str) -> None:
    """End a login, used or not; again, or without a server, changes nothing."""
    client = connect(socket, token)
    try:
        _revoke(client)
    finally:
        client.adapter.close()


def _whose(client: Any, project: Project) -> Principal:
    try:
        with answering("say whose login this is"):
            found: Any = client.auth.token.lookup_self()["data"]
    except Refused:
        raise Refused(
            "this login is spent, or older than a minute", fix="run the command again, and log in anew"
        ) from None
    told: dict[str, Any] = found.get("meta") or {}
    name = str(told.get("username", ""))
    if found.get("path") != f"auth/userpass/login/{name}" or found.get("policies") != [POLICY]:
        raise Refused("this login is no person's", fix="log in with a name, a password and a code")
    if name not in project.people:
        raise Refused(
            f"{project.root / FILE} names nobody [people.{name}]",
            fix="ask the project's owner to name them, with their roles",
        )
    return Principal(f"user:{name}", tuple(project.people[name].roles))


def _demanded(requirement: Any) -> tuple[str, str]:
    """Return the one method that a login demands, and the request that it is answered under."""
    methods = {str(method["id"]) for each in requirement["mfa_constraints"].values() for method in each["any"]}
    if len(methods) != 1:
        raise Broken("OpenBao demands not exactly one code of a person", fix="stop: its login enforcement was changed")
    return methods.pop(), str(requirement["mfa_request_id"])


def _revoke(client: Any) -> None:
    try:
        with answering("end a person's login"):
            client.auth.token.revoke_self()
    except (Refused, NotFound, Unavailable):
        # It was over already, or ends by itself within a minute: nobody can use it for longer.
        pass


def _refused() -> Refused:
    return Refused(
        "name, password or code is wrong, the code was used before, or too many were tried",
        fix="wait for the authenticator's next code, then try again",
    )
