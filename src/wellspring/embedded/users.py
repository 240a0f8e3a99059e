"""Enrolls a user in OpenBao, once: a password, a TOTP secret, and a signing key that only this user can use.

The supervisor enrolls users on request of the project's owner. Its policy lets it create a user and nothing else: it
can neither change a password or a key nor read a TOTP secret again.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from pydantic import JsonValue

from wellspring.embedded.control_socket import send_request
from wellspring.embedded.layout import write_secret_file
from wellspring.errors import NotFound, ProjectError, Refused, Unavailable, WellspringError, suggest_name
from wellspring.observe.refusal_log import RefusalLog
from wellspring.project import PROJECT_FILE, Project, UserSettings, load_project
from wellspring.records.observe import Recorder
from wellspring.runtime.privileges import ServicePrivileges
from wellspring.trust.identity.openbao import map_errors
from wellspring.trust.identity.users import (
    DEVELOPMENT_SIGNING_POLICY,
    DEVELOPMENT_TRANSIT_MOUNT,
    LOGIN_PATH_FILE,
    SIGNING_POLICY,
    TOKEN_TTL_SECONDS,
    TRANSIT_MOUNT,
    USER_NAME_PATTERN,
    read_login_mount,
    select_transit_mount,
)

ENROLLMENT_POLICY = "enrollment"
"""Name of the policy that lets the supervisor enroll users."""
DEVELOPMENT_ENROLLMENT_POLICY = "development-enrollment"
"""The same for the users of a project in development; it also lets the supervisor remove their login."""
MIN_PASSWORD_LENGTH = 12
"""Minimum number of characters of a password."""
LOCKOUT = {
    "lockout_threshold": "5",
    "lockout_counter_reset_duration": "15m",
    # Short, because only the owner can send a password, and an urgent rollback must not wait for long.
    "lockout_duration": "1m",
}
"""When a name is locked after wrong passwords, and for how long."""
_REPORTED_ACTS = {"enroll", "sign"}
_TOTP_METHOD = {
    "method_name": SIGNING_POLICY,
    "issuer": "wellspring",
    "period": 30,
    "digits": 6,
    "algorithm": "SHA1",
    "key_size": 20,
    "qr_size": 0,
    # Codes of one period before and after are accepted, for clock differences.
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
# The supervisor can create a user with exactly these parameters and cannot update one. OpenBao returns a TOTP secret
# only when it creates it. `+` matches one path segment, so paths below a key (rotate, config) are denied.
_CREATION_POLICY_TEMPLATE = """
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
path "{mount}/keys/+" {{
  capabilities = ["create", "update"]
  allowed_parameters = {{ "type" = ["ed25519"] }}
  required_parameters = ["type"]
}}
"""
_DEVELOPMENT_ENROLLMENT_TEMPLATE = (
    _CREATION_POLICY_TEMPLATE
    + """
path "sys/auth/{users}" {{ capabilities = ["delete", "sudo"] }}
"""
)
_ENROLLMENT_POLICY_TEMPLATE = (
    _CREATION_POLICY_TEMPLATE
    + """
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
"""
)


def configure_user_login(root: Any) -> str:
    """Create the login method, TOTP enforcement and policies of users, and return the secret name of the method.

    root: a client with the root token.
    """
    mount = f"users-{secrets.token_hex(16)}"
    root.sys.enable_auth_method("userpass", path=mount)
    root.adapter.post(f"/v1/sys/auth/{mount}/tune", json={"user_lockout_config": LOCKOUT})
    root.sys.enable_secrets_engine("transit", path=TRANSIT_MOUNT)
    accessor = str(root.sys.list_auth_methods()["data"][f"{mount}/"]["accessor"])
    response: Any = root.adapter.post("/v1/identity/mfa/method/totp", json=_TOTP_METHOD)
    method = str(response["data"]["method_id"])
    # Every userpass login needs a TOTP code in addition to the password.
    root.adapter.post(
        "/v1/identity/mfa/login-enforcement/users",
        json={"mfa_method_ids": [method], "auth_method_accessors": [accessor]},
    )
    values = {
        "mount": TRANSIT_MOUNT,
        "accessor": accessor,
        "users": mount,
        "policy": SIGNING_POLICY,
        "seconds": TOKEN_TTL_SECONDS,
    }
    root.sys.create_or_update_policy(SIGNING_POLICY, _USER_POLICY_TEMPLATE.format(**values))
    root.sys.create_or_update_policy(ENROLLMENT_POLICY, _ENROLLMENT_POLICY_TEMPLATE.format(**values, method=method))
    return mount


def configure_development_login(root: Any) -> str:
    """Create the login without a code of a project in development, and return the secret name of its method."""
    mount = f"development-{secrets.token_hex(16)}"
    root.sys.enable_auth_method("userpass", path=mount)
    root.adapter.post(f"/v1/sys/auth/{mount}/tune", json={"user_lockout_config": LOCKOUT})
    root.sys.enable_secrets_engine("transit", path=DEVELOPMENT_TRANSIT_MOUNT)
    values = {
        "mount": DEVELOPMENT_TRANSIT_MOUNT,
        "accessor": str(root.sys.list_auth_methods()["data"][f"{mount}/"]["accessor"]),
        "users": mount,
        "policy": DEVELOPMENT_SIGNING_POLICY,
        "seconds": TOKEN_TTL_SECONDS,
    }
    root.sys.create_or_update_policy(DEVELOPMENT_SIGNING_POLICY, _USER_POLICY_TEMPLATE.format(**values))
    root.sys.create_or_update_policy(DEVELOPMENT_ENROLLMENT_POLICY, _DEVELOPMENT_ENROLLMENT_TEMPLATE.format(**values))
    return mount


def remove_development_login(project: Project, client: Any, privileges: ServicePrivileges) -> None:
    """Remove the login without a code, with every token of it. client: logged in with supervisor.key.

    Can be repeated after a crash: the file that names the login changes last.
    """
    path = project.state_dir / LOGIN_PATH_FILE
    mount, *development_mounts = path.read_text(encoding="ascii").split()
    for development_mount in development_mounts:
        with map_errors("remove the login of development"):
            client.adapter.delete(f"/v1/sys/auth/{development_mount}")
    write_secret_file(path, f"{mount}\n".encode(), privileges, None)


def find_user_settings(project: Project, name: str) -> UserSettings:
    """Return a user's settings in wellspring.toml. Raises NotFound, or ProjectError for an invalid user name."""
    if name not in project.users:
        raise NotFound(
            f"{project.root / PROJECT_FILE} has no user {name} under [users]",
            fix=suggest_name(name, list(project.users)),
        )
    if not USER_NAME_PATTERN.fullmatch(name):
        raise ProjectError(
            f"[users.{name}]: a user name is 1 to 31 lower-case letters, digits, - and _, and begins with a letter",
            fix=f"edit {project.root / PROJECT_FILE}",
        )
    return project.users[name]


def request_enrollment(
    project: Project, name: str, password: str, *, bootstrap_code: str = "", trace: str = ""
) -> dict[str, str]:
    """Ask the supervisor to enroll a user with the password that they typed at the terminal.

    bootstrap_code: for the first enrollment of a governed project. trace: of the command, for the entries. '' begins
    one.
    Returns {otpauth_url, public_key}; the TOTP secret in it cannot be read again, and in development the URL is empty.
    Raises Refused for a weak password,
    for a user who is enrolled, and for a caller other than the project's owner; NotFound; ProjectError; Unavailable.
    """
    find_user_settings(project, name)
    _require_strong_password(password)
    request = {"op": "enroll", "name": name, "password": password, "bootstrap_code": bootstrap_code, "trace": trace}
    response = send_request(project, request)
    return {"otpauth_url": str(response["otpauth_url"]), "public_key": str(response["public_key"])}


def report_refusal(project: Project, act: str, name: str) -> None:
    """Let the supervisor record an act of a user that a command refused before a server saw it: `enroll` or `sign`.

    Does nothing if the supervisor does not respond: the refusal stands.
    """
    with suppress(WellspringError):
        send_request(project, {"op": "report_refusal", "act": act, "name": name})


def record_refused_user(act: str, name: str, refusals: RefusalLog | None) -> None:
    """Record what `report_refusal` sent, in the supervisor's process."""
    if act not in _REPORTED_ACTS or not USER_NAME_PATTERN.fullmatch(name) or refusals is None:
        raise Refused("the report of a refusal has an act and the name of a user", fix="use the command line")
    refused = Refused(f"the command line refused to {act} {name}", fix="ask this user, or the project's owner")
    refusals.record(act, f"user:{name}", "owner", refused)


def enroll_user(project: Project, name: str, password: str, *, client: Any, step: Recorder) -> dict[str, Any]:
    """Enroll a user, in the supervisor's process. client: logged in with supervisor.key. project: in the mode in force.

    An interrupted enrollment can be repeated with the same password while no TOTP secret exists.
    """
    # Reload wellspring.toml: it may have changed since the servers were started.
    roles = find_user_settings(load_project(project.root, sources=False), name).roles
    _require_strong_password(password)
    facts: dict[str, JsonValue] = {"roles": list(roles), "principal": "owner"}
    with step("enroll", f"user:{name}", intent=True, facts=facts) as act:
        mount = read_login_mount(project)
        if project.project.mode == "development":
            act.add_facts(mode="development")
            if not _create_user(client, mount, name, password, DEVELOPMENT_SIGNING_POLICY):
                _verify_development_password(client, mount, name, password)
            public = _create_signing_key(client, name, select_transit_mount(project))
            act.add_facts(public_key=public)
            return {"otpauth_url": "", "public_key": public}
        created = _create_user(client, mount, name, password, SIGNING_POLICY)
        verify = _verify_password if created else _resume_enrollment
        secret = _create_totp_secret(client, mount, name, verify(client, mount, name, password))
        public = _create_signing_key(client, name, TRANSIT_MOUNT)
        act.add_facts(public_key=public)
    label = quote(f"{project.name}:{name}")
    parameters = urlencode(
        {"secret": secret, "issuer": project.name, **{name: _TOTP_METHOD[name] for name in _OTPAUTH_PARAMETERS}}
    )
    return {"otpauth_url": f"otpauth://totp/{label}?{parameters}", "public_key": public}


def _require_strong_password(password: str) -> None:
    if len(password) < MIN_PASSWORD_LENGTH or len(set(password)) < MIN_PASSWORD_LENGTH // 2:
        raise Refused(
            f"the password is too weak: it needs at least {MIN_PASSWORD_LENGTH} characters, "
            f"{MIN_PASSWORD_LENGTH // 2} of them different",
            fix="choose another password, such as a sentence",
        )


def _create_user(client: Any, mount: str, name: str, password: str, policy: str) -> bool:
    """Create the user. Returns False if the user exists; OpenBao then changes nothing."""
    user_fields = {
        "password": password,
        "token_policies": policy,
        "token_no_default_policy": True,
        "token_ttl": f"{TOKEN_TTL_SECONDS}s",
        "token_max_ttl": f"{TOKEN_TTL_SECONDS}s",
        "token_type": "service",
    }
    try:
        with map_errors(f"create the user {name}"):
            client.adapter.post(f"/v1/auth/{mount}/users/{name}", json=user_fields)
    except Refused:
        return False
    return True


def _verify_password(client: Any, mount: str, name: str, password: str) -> str:
    """Log in with the password, which creates the user's entity; return the id of the required TOTP method."""
    with map_errors(f"verify the password of {name}"):
        response: Mapping[str, Any] = client.adapter.post(f"/v1/auth/{mount}/login/{name}", json={"password": password})
    (constraint,) = response["auth"]["mfa_requirement"]["mfa_constraints"].values()
    return str(constraint["any"][0]["id"])


def _verify_development_password(client: Any, mount: str, name: str, password: str) -> None:
    """Check the password of a user whose enrollment was interrupted. Raises Refused for another password."""
    try:
        with map_errors(f"verify the password of {name}"):
            client.adapter.post(f"/v1/auth/{mount}/login/{name}", json={"password": password})
    except Refused:
        raise already_enrolled(name) from None


def _resume_enrollment(client: Any, mount: str, name: str, password: str) -> str:
    try:
        return _verify_password(client, mount, name, password)
    except Refused:
        raise already_enrolled(name) from None


def _create_totp_secret(client: Any, mount: str, name: str, method: str) -> str:
    """Create the TOTP secret, which OpenBao returns only once. Raises Refused if the user has one already."""
    with map_errors(f"create the TOTP secret of {name}"):
        mounted: Any = client.adapter.get(f"/v1/sys/internal/ui/mounts/auth/{mount}")
        alias = {"alias_name": name, "alias_mount_accessor": mounted["data"]["accessor"]}
        entity: Any = client.adapter.post("/v1/identity/lookup/entity", json=alias)
        response: Any = client.adapter.post(
            "/v1/identity/mfa/method/totp/admin-generate",
            json={"method_id": method, "entity_id": entity["data"]["id"]},
        )
    if not response.get("data"):
        raise already_enrolled(name)
    return parse_qs(urlsplit(str(response["data"]["url"])).query)["secret"][0]


def _create_signing_key(client: Any, name: str, mount: str) -> str:
    """Create the user's Ed25519 signing key and return its public key (base64)."""
    with map_errors(f"create the signing key of {name}"):
        response: Any = client.adapter.post(f"/v1/{mount}/keys/{name}", json={"type": "ed25519"})
    public = str(response["data"]["keys"]["1"]["public_key"])
    if len(base64.b64decode(public)) != 32:
        raise Unavailable(f"OpenBao did not create an Ed25519 key for {name}", fix="read its log")
    return public


def already_enrolled(name: str) -> Refused:
    """Return the error for a user who is already enrolled."""
    return Refused(
        f"{name} is already enrolled", fix="use the authenticator that was set up then; a reset is not supported yet"
    )
