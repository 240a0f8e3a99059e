"""Enrol a person: a password of their own, an authenticator's secret, and a key that only they may sign with; once.

The supervisor does it, for the project's owner. Its login may make a person and nothing else about one: no password is
changed, no secret is shown a second time, and whoever is enrolled stays who they are.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from pydantic import JsonValue

from wellspring.errors import NotFound, ProjectError, Refused, Unavailable
from wellspring.project import FILE, Project, load, nearest
from wellspring.project import Person as Named
from wellspring.records.observe import Step
from wellspring.servers.control import ask
from wellspring.trust.identity.openbao import answering
from wellspring.trust.identity.people import MOUNT, NAME, POLICY, SECONDS

ENROLMENT = "enrolment"
"""The policy that lets the supervisor enrol people."""
SHORTEST = 12
"""Characters of the shortest password."""
_USERS = "userpass"
_METHOD = {
    "method_name": POLICY,
    "issuer": "wellspring",
    "period": 30,
    "digits": 6,
    "algorithm": "SHA1",
    "key_size": 20,
    "qr_size": 0,
    # One step before and after: clocks differ. A code of ten minutes ago is refused.
    "skew": 1,
    "max_validation_attempts": 5,
}
_TOLD = ("algorithm", "digits", "period")
_PERSON = """
path "{mount}/sign/{{{{identity.entity.aliases.{accessor}.name}}}}" {{ capabilities = ["update"] }}
path "{mount}/keys/{{{{identity.entity.aliases.{accessor}.name}}}}" {{ capabilities = ["read"] }}
path "auth/token/lookup-self" {{ capabilities = ["read"] }}
path "auth/token/revoke-self" {{ capabilities = ["update"] }}
"""
# A user is created with exactly these, never updated. The secret of an authenticator is made once: asked again, OpenBao
# answers without one. A key that is there stays as it is, and `+` is one segment: nothing about it is configured.
_ENROLMENT = """
path "auth/{users}/users/+" {{
  capabilities = ["create"]
  allowed_parameters = {{
    "password" = []
    "token_policies" = ["{policy}"]
    "token_no_default_policy" = [true]
    "token_ttl" = ["{seconds}s"]
    "token_max_ttl" = ["{seconds}s"]
    "token_type" = ["service"]
  }}
  required_parameters = ["password", "token_policies", "token_no_default_policy", "token_ttl", "token_max_ttl",
    "token_type"]
}}
path "identity/lookup/entity" {{
  capabilities = ["update"]
  allowed_parameters = {{ "alias_name" = [], "alias_mount_accessor" = ["{accessor}"] }}
  required_parameters = ["alias_name", "alias_mount_accessor"]
}}
path "identity/mfa/method/totp/admin-generate" {{
  capabilities = ["update"]
  allowed_parameters = {{ "method_id" = ["{method}"], "entity_id" = [] }}
  required_parameters = ["method_id", "entity_id"]
}}
path "{mount}/keys/+" {{
  capabilities = ["create", "update"]
  allowed_parameters = {{ "type" = ["ed25519"] }}
  required_parameters = ["type"]
}}
"""


def configure(root: Any) -> None:
    """Make what people log in with, at bootstrap. root: a client with the root token."""
    root.sys.enable_auth_method(_USERS)
    root.sys.enable_secrets_engine("transit", path=MOUNT)
    accessor = str(root.sys.list_auth_methods()["data"][f"{_USERS}/"]["accessor"])
    made: Any = root.adapter.post("/v1/identity/mfa/method/totp", json=_METHOD)
    method = str(made["data"]["method_id"])
    # A password alone gives no token, whoever asks and however.
    root.adapter.post(
        "/v1/identity/mfa/login-enforcement/people",
        json={"mfa_method_ids": [method], "auth_method_accessors": [accessor]},
    )
    known = {"mount": MOUNT, "accessor": accessor, "users": _USERS, "policy": POLICY, "seconds": SECONDS}
    root.sys.create_or_update_policy(POLICY, _PERSON.format(**known))
    root.sys.create_or_update_policy(ENROLMENT, _ENROLMENT.format(**known, method=method))


def named(project: Project, name: str) -> Named:
    """Return what wellspring.toml says of a person. Raises NotFound, ProjectError (a name that no person can have)."""
    if name not in project.people:
        raise NotFound(
            f"{project.root / FILE} names no such person under [people]", fix=nearest(name, list(project.people))
        )
    if not NAME.fullmatch(name):
        raise ProjectError(
            f"[people.{name}]: a name is 1 to 31 lower-case letters, digits, - and _, and begins with a letter",
            fix=f"edit {project.root / FILE}",
        )
    return project.people[name]


def enrol(project: Project, name: str, password: str) -> dict[str, str]:
    """Ask the supervisor to enrol a person with the password that they chose at the terminal.

    Returns {otpauth_url, public} this one time: no second call shows the authenticator's secret again. Raises Refused
    for a short password, for somebody who is enrolled, and for anybody but the project's owner; NotFound, Unavailable.
    """
    named(project, name)
    _strong(password)
    answer = ask(project, {"op": "enrol", "name": name, "password": password})
    return {"otpauth_url": str(answer["otpauth_url"]), "public": str(answer["public"])}


def carry_out(project: Project, name: str, password: str, *, client: Any, step: Step) -> dict[str, Any]:
    """Enrol a person. The supervisor's side. client: logged in with supervisor.key.

    A try that broke off is finished by trying again with the same password, as long as no secret was made.
    """
    # What stands in the file now: somebody may have been named since the servers came up.
    roles = named(load(project.root), name).roles
    _strong(password)
    noted: dict[str, JsonValue] = {"roles": list(roles), "by": "owner"}
    with step("enrol", f"person:{name}", intent=True, facts=noted) as act:
        created = _create(client, name, password)
        method = _password_works(client, name, password) if created else _again(client, name, password)
        secret = _authenticator(client, name, method)
        public = _key(client, name)
        act.note(public=public)
    label = quote(f"{project.name}:{name}")
    told = urlencode({"secret": secret, "issuer": project.name, **{name: _METHOD[name] for name in _TOLD}})
    return {"otpauth_url": f"otpauth://totp/{label}?{told}", "public": public}


def _strong(password: str) -> None:
    if len(password) < SHORTEST or len(set(password)) < SHORTEST // 2:
        raise Refused(
            f"a password has at least {SHORTEST} characters, and not the same few over and over",
            fix="choose another; a sentence is easy to keep in mind",
        )


def _create(client: Any, name: str, password: str) -> bool:
    """Make the user; False if there is one of this name, which stays as it is."""
    asked = {
        "password": password,
        "token_policies": POLICY,
        "token_no_default_policy": True,
        "token_ttl": f"{SECONDS}s",
        "token_max_ttl": f"{SECONDS}s",
        "token_type": "service",
    }
    try:
        with answering(f"make the user {name}"):
            client.adapter.post(f"/v1/auth/{_USERS}/users/{name}", json=asked)
    except Refused:
        return False
    return True


def _password_works(client: Any, name: str, password: str) -> str:
    """Try the password, by which OpenBao comes to know the person; return the method of the code that it asks for."""
    with answering(f"try the password of {name}"):
        answer: Mapping[str, Any] = client.adapter.post(f"/v1/auth/{_USERS}/login/{name}", json={"password": password})
    (asked,) = answer["auth"]["mfa_requirement"]["mfa_constraints"].values()
    return str(asked["any"][0]["id"])


def _again(client: Any, name: str, password: str) -> str:
    try:
        return _password_works(client, name, password)
    except Refused:
        raise again(name) from None


def _authenticator(client: Any, name: str, method: str) -> str:
    """Make the authenticator's secret; OpenBao shows it this once. Raises Refused if there is one already."""
    with answering(f"make the authenticator's secret of {name}"):
        mounted: Any = client.adapter.get(f"/v1/sys/internal/ui/mounts/auth/{_USERS}")
        asked = {"alias_name": name, "alias_mount_accessor": mounted["data"]["accessor"]}
        found: Any = client.adapter.post("/v1/identity/lookup/entity", json=asked)
        made: Any = client.adapter.post(
            "/v1/identity/mfa/method/totp/admin-generate",
            json={"method_id": method, "entity_id": found["data"]["id"]},
        )
    if not made.get("data"):
        raise again(name)
    return parse_qs(urlsplit(str(made["data"]["url"])).query)["secret"][0]


def _key(client: Any, name: str) -> str:
    """Make the signing key, and return its public half (base64)."""
    with answering(f"make the signing key of {name}"):
        made: Any = client.adapter.post(f"/v1/{MOUNT}/keys/{name}", json={"type": "ed25519"})
    public = str(made["data"]["keys"]["1"]["public_key"])
    if len(base64.b64decode(public)) != 32:
        raise Unavailable(f"OpenBao made no Ed25519 key for {name}", fix="read its log")
    return public


def again(name: str) -> Refused:
    """Say that somebody is enrolled already."""
    return Refused(
        f"{name} is enrolled already", fix="use the authenticator that was set up then; there is no reset yet"
    )
