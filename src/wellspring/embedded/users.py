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

from wellspring.embedded.control_socket import send_request
from wellspring.errors import NotFound, ProjectError, Refused, Unavailable
from wellspring.project import PROJECT_FILE, Project, load_project, suggest_name
from wellspring.project import UserSettings as UserSettings
from wellspring.records.observe import Recorder
from wellspring.trust.identity.openbao import map_errors
from wellspring.trust.identity.users import SIGNING_POLICY, TOKEN_TTL_SECONDS, TRANSIT_MOUNT, USER_NAME_PATTERN

ENROLLMENT_POLICY = "enrollment"
"""The policy that lets the supervisor enrol people."""
MIN_PASSWORD_LENGTH = 12
"""Characters of the shortest password."""
_USERPASS_MOUNT = "userpass"
_TOTP_METHOD = {
    "method_name": SIGNING_POLICY,
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
_OTPAUTH_PARAMETERS = ("algorithm", "digits", "period")
_USER_POLICY_TEMPLATE = """
path "{mount}/sign/{{{{identity.entity.aliases.{accessor}.name}}}}" {{ capabilities = ["update"] }}
path "{mount}/keys/{{{{identity.entity.aliases.{accessor}.name}}}}" {{ capabilities = ["read"] }}
path "auth/token/lookup-self" {{ capabilities = ["read"] }}
path "auth/token/revoke-self" {{ capabilities = ["update"] }}
"""
# A user is created with exactly these, never updated. The secret of an authenticator is made once: asked again, OpenBao
# answers without one. A key that is there stays as it is, and `+` is one segment: nothing about it is configured.
_ENROLLMENT_POLICY_TEMPLATE = """
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


def configure_user_login(root: Any) -> None:
    """Make what people log in with, at bootstrap. root: a client with the root token."""
    root.sys.enable_auth_method(_USERPASS_MOUNT)
    root.sys.enable_secrets_engine("transit", path=TRANSIT_MOUNT)
    accessor = str(root.sys.list_auth_methods()["data"][f"{_USERPASS_MOUNT}/"]["accessor"])
    response: Any = root.adapter.post("/v1/identity/mfa/method/totp", json=_TOTP_METHOD)
    method = str(response["data"]["method_id"])
    # A password alone gives no token, whoever asks and however.
    root.adapter.post(
        "/v1/identity/mfa/login-enforcement/people",
        json={"mfa_method_ids": [method], "auth_method_accessors": [accessor]},
    )
    values = {
        "mount": TRANSIT_MOUNT,
        "accessor": accessor,
        "users": _USERPASS_MOUNT,
        "policy": SIGNING_POLICY,
        "seconds": TOKEN_TTL_SECONDS,
    }
    root.sys.create_or_update_policy(SIGNING_POLICY, _USER_POLICY_TEMPLATE.format(**values))
    root.sys.create_or_update_policy(ENROLLMENT_POLICY, _ENROLLMENT_POLICY_TEMPLATE.format(**values, method=method))


def find_user_settings(project: Project, name: str) -> UserSettings:
    """Return what wellspring.toml says of a person. Raises NotFound, ProjectError (a name that no person can have)."""
    if name not in project.users:
        raise NotFound(
            f"{project.root / PROJECT_FILE} names no such person under [users]",
            fix=suggest_name(name, list(project.users)),
        )
    if not USER_NAME_PATTERN.fullmatch(name):
        raise ProjectError(
            f"[users.{name}]: a name is 1 to 31 lower-case letters, digits, - and _, and begins with a letter",
            fix=f"edit {project.root / PROJECT_FILE}",
        )
    return project.users[name]


def request_enrollment(project: Project, name: str, password: str) -> dict[str, str]:
    """Ask the supervisor to enrol a person with the password that they chose at the terminal.

    Returns {otpauth_url, public} this one time: no second call shows the authenticator's secret again. Raises Refused
    for a short password, for somebody who is enrolled, and for anybody but the project's owner; NotFound, Unavailable.
    """
    find_user_settings(project, name)
    _require_strong_password(password)
    answer = send_request(project, {"op": "enroll", "name": name, "password": password})
    return {"otpauth_url": str(answer["otpauth_url"]), "public_key": str(answer["public_key"])}


def enroll_user(project: Project, name: str, password: str, *, client: Any, step: Recorder) -> dict[str, Any]:
    """Enrol a person. The supervisor's side. client: logged in with supervisor.key.

    A try that broke off is finished by trying again with the same password, as long as no secret was made.
    """
    # What stands in the file now: somebody may have been named since the servers came up.
    roles = find_user_settings(load_project(project.root), name).roles
    _require_strong_password(password)
    facts: dict[str, JsonValue] = {"roles": list(roles), "principal": "owner"}
    with step("enroll", f"user:{name}", intent=True, facts=facts) as act:
        created = _create_user(client, name, password)
        method = _verify_password(client, name, password) if created else _resume_enrollment(client, name, password)
        secret = _create_totp_secret(client, name, method)
        public = _create_signing_key(client, name)
        act.add_facts(public_key=public)
    label = quote(f"{project.name}:{name}")
    parameters = urlencode(
        {"secret": secret, "issuer": project.name, **{name: _TOTP_METHOD[name] for name in _OTPAUTH_PARAMETERS}}
    )
    return {"otpauth_url": f"otpauth://totp/{label}?{parameters}", "public_key": public}


def _require_strong_password(password: str) -> None:
    if len(password) < MIN_PASSWORD_LENGTH or len(set(password)) < MIN_PASSWORD_LENGTH // 2:
        raise Refused(
            f"a password has at least {MIN_PASSWORD_LENGTH} characters, and not the same few over and over",
            fix="choose another; a sentence is easy to keep in mind",
        )


def _create_user(client: Any, name: str, password: str) -> bool:
    """Make the user; False if there is one of this name, which stays as it is."""
    user_fields = {
        "password": password,
        "token_policies": SIGNING_POLICY,
        "token_no_default_policy": True,
        "token_ttl": f"{TOKEN_TTL_SECONDS}s",
        "token_max_ttl": f"{TOKEN_TTL_SECONDS}s",
        "token_type": "service",
    }
    try:
        with map_errors(f"make the user {name}"):
            client.adapter.post(f"/v1/auth/{_USERPASS_MOUNT}/users/{name}", json=user_fields)
    except Refused:
        return False
    return True


def _verify_password(client: Any, name: str, password: str) -> str:
    """Try the password, by which OpenBao comes to know the person; return the method of the code that it asks for."""
    with map_errors(f"try the password of {name}"):
        answer: Mapping[str, Any] = client.adapter.post(
            f"/v1/auth/{_USERPASS_MOUNT}/login/{name}", json={"password": password}
        )
    (constraint,) = answer["auth"]["mfa_requirement"]["mfa_constraints"].values()
    return str(constraint["any"][0]["id"])


def _resume_enrollment(client: Any, name: str, password: str) -> str:
    try:
        return _verify_password(client, name, password)
    except Refused:
        raise already_enrolled(name) from None


def _create_totp_secret(client: Any, name: str, method: str) -> str:
    """Make the authenticator's secret; OpenBao shows it this once. Raises Refused if there is one already."""
    with map_errors(f"make the authenticator's secret of {name}"):
        mount: Any = client.adapter.get(f"/v1/sys/internal/ui/mounts/auth/{_USERPASS_MOUNT}")
        alias = {"alias_name": name, "alias_mount_accessor": mount["data"]["accessor"]}
        entity: Any = client.adapter.post("/v1/identity/lookup/entity", json=alias)
        response: Any = client.adapter.post(
            "/v1/identity/mfa/method/totp/admin-generate",
            json={"method_id": method, "entity_id": entity["data"]["id"]},
        )
    if not response.get("data"):
        raise already_enrolled(name)
    return parse_qs(urlsplit(str(response["data"]["url"])).query)["secret"][0]


def _create_signing_key(client: Any, name: str) -> str:
    """Make the signing key, and return its public half (base64)."""
    with map_errors(f"make the signing key of {name}"):
        response: Any = client.adapter.post(f"/v1/{TRANSIT_MOUNT}/keys/{name}", json={"type": "ed25519"})
    public = str(response["data"]["keys"]["1"]["public_key"])
    if len(base64.b64decode(public)) != 32:
        raise Unavailable(f"OpenBao made no Ed25519 key for {name}", fix="read its log")
    return public


def already_enrolled(name: str) -> Refused:
    """Say that somebody is enrolled already."""
    return Refused(
        f"{name} is enrolled already", fix="use the authenticator that was set up then; there is no reset yet"
    )
