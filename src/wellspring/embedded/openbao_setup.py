"""Bootstraps OpenBao once: keys, secrets, policies and roles; then revokes the root token."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wellspring.embedded import openbao, postgres, users
from wellspring.embedded.layout import write_secret_file, write_shared_file
from wellspring.errors import CorruptedError
from wellspring.project import Project
from wellspring.runtime.privileges import ServicePrivileges
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.simulated_clock import SIMULATION_HOST
from wellspring.runtime.trusted_folder import remove_file
from wellspring.trust.identity.openbao import map_errors, open_client
from wellspring.trust.identity.users import LOGIN_PATH_FILE
from wellspring.trust.keys.openbao import sign_in_transit
from wellspring.trust.ledger.journal_key import SERVICE_KEYS_FILE, JournalKey, create_journal_key, service_key_name
from wellspring.trust.ledger.tree import ORIGIN_HOST
from wellspring_verify.entry_signature import KEY_NAME_PART, SIGNED_SERVICES
from wellspring_verify.notes import KIND_LOG, VerifierKey

if TYPE_CHECKING:
    import hvac

APPROLE_NAMES = ("worker", "enclave", "api", "sequencer", "dispatcher")
WRAP_TTL_SECONDS = 60
RENEWAL_PERIOD = "15m"
WRAPPING_KEYS = ("originals", "quarantine", "tokens", "people")
"""The keys that wrap data keys of the enclave."""
WRAPPING_KEY_PERIOD = "2160h"
"""How long OpenBao wraps data keys with one version of a key: 90 days."""

SELF_POLICY = """
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
"""
# Each service certifies the keys of its own processes, which sign the lines of its journals.
JOURNAL_POLICIES = {
    service: f'path "transit/sign/{service_key_name(service)}" {{ capabilities = ["update"] }}\n'
    for service in SIGNED_SERVICES
}
ROLE_POLICIES = {
    "enclave": SELF_POLICY
    + JOURNAL_POLICIES["enclave"]
    + "".join(
        f'path "transit/datakey/plaintext/{key}" {{ capabilities = ["update"] }}\n'
        f'path "transit/decrypt/{key}" {{ capabilities = ["update"] }}\n'
        for key in WRAPPING_KEYS
    )
    + 'path "secret/data/enclave/*" { capabilities = ["create", "read", "update"] }\n',
    "worker": SELF_POLICY
    + JOURNAL_POLICIES["worker"]
    + """
path "transit/sign/models" { capabilities = ["update"] }
path "transit/keys/models" { capabilities = ["read"] }
path "secret/data/worker/*" { capabilities = ["read"] }
""",
    "api": SELF_POLICY
    + JOURNAL_POLICIES["api"]
    + """
path "transit/keys/models" { capabilities = ["read"] }
path "transit/keys/ledger" { capabilities = ["read"] }
path "secret/data/api/*" { capabilities = ["read"] }
""",
    # It owns no data: the jobs that it starts have the worker's role.
    "dispatcher": SELF_POLICY + JOURNAL_POLICIES["dispatcher"],
    # The only role that may sign for the log.
    "sequencer": SELF_POLICY
    + JOURNAL_POLICIES["sequencer"]
    + """
path "transit/sign/ledger" { capabilities = ["update"] }
path "transit/keys/ledger" { capabilities = ["read"] }
path "transit/keys/ledger/rotate" { capabilities = ["update"] }
path "transit/keys/ledger/config" {
  capabilities = ["update"]
  allowed_parameters = { "min_encryption_version" = [] }
}
""",
    # min_wrapping_ttl: OpenBao refuses to issue an unwrapped secret-id. denied_parameters: no parameter may be set.
    "supervisor": 'path "auth/token/revoke-self" { capabilities = ["update"] }\n'
    + JOURNAL_POLICIES["supervisor"]
    + """
path "transit/keys/models" { capabilities = ["read"] }
path "transit/keys/models/rotate" { capabilities = ["update"] }
path "auth/approle/role/supervisor/secret-id/" { capabilities = ["list"] }
path "auth/approle/role/supervisor/secret-id-accessor/destroy" { capabilities = ["update"] }
"""
    + "".join(
        f"""
path "auth/approle/role/{role}/secret-id" {{
  capabilities = ["update"]
  min_wrapping_ttl = "1s"
  max_wrapping_ttl = "{WRAP_TTL_SECONDS}s"
  denied_parameters = {{ "*" = [] }}
}}
"""
        for role in (*APPROLE_NAMES, "supervisor")
    ),
}


def supervisor_key_path(project: Project) -> Path:
    """Return the file of the supervisor's credential. It is written last: without it, the bootstrap is unfinished."""
    return project.state_dir / "supervisor.key"


def is_bootstrap_complete(project: Project) -> bool:
    """Return True if OpenBao has its keys and roles and the root token is revoked."""
    return supervisor_key_path(project).exists()


def undo_bootstrap(project: Project) -> None:
    """Remove what an unfinished bootstrap left. Raises CorruptedError if data exists that depends on its keys."""
    data_paths = [
        project.ledger_dir / "checkpoint",
        *project.enclave_dir.glob("*/*"),
        *project.journals_dir.glob("*/*.log"),
    ]
    existing_paths = [path for path in data_paths if path.exists() and path.parent.name != "supervisor"]
    if existing_paths:
        raise CorruptedError(
            f"{supervisor_key_path(project)} is missing, and this project already holds data ({existing_paths[0]})",
            fix="restore the file from a backup, or delete this project's data with `wellspring clean`",
        )
    openbao.remove_openbao_data(project)
    postgres.remove_postgres_data(project)
    # A log never changes its key: a log with another key needs another origin.
    for path in (
        project.vendor_dir / "authorized_keys",
        project.ledger_dir / "vkey",
        project.ledger_dir / "origin",
        project.state_dir / SERVICE_KEYS_FILE,
        project.state_dir / LOGIN_PATH_FILE,
    ):
        remove_file(path)


class OpenBaoBootstrap:
    """Configures OpenBao with its root token, which exists only in this object's memory."""

    def __init__(self, project: Project, privileges: ServicePrivileges) -> None:
        """Initialize OpenBao. seal.key seals it; the recovery key is discarded."""
        self._project = project
        self._privileges = privileges
        client = open_client(find_server_socket(project, "openbao"))
        with map_errors("initialize itself"):
            response: Any = client.adapter.put("/v1/sys/init", json={"recovery_shares": 1, "recovery_threshold": 1})
        client.adapter.close()
        self._root_client = open_client(find_server_socket(project, "openbao"), str(response["root_token"]))

    def configure_server(self) -> None:
        """Create secret engines, keys, policies, roles and the login of users, and write the path of that login."""
        root = self._root_client
        is_development = self._project.project.mode == "development"
        development_policies = (users.DEVELOPMENT_ENROLLMENT_POLICY,) if is_development else ()
        with map_errors("create its keys and roles"):
            root.sys.enable_secrets_engine("transit")
            root.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
            root.sys.enable_auth_method("approle")
            for key in WRAPPING_KEYS:
                # OpenBao makes a new version by itself; it unwraps with the version that wrapped.
                root.secrets.transit.create_key(key, key_type="aes256-gcm96", auto_rotate_period=WRAPPING_KEY_PERIOD)
            for key in ("ledger", "models", *map(service_key_name, SIGNED_SERVICES)):
                root.secrets.transit.create_key(key, key_type="ed25519")
            for name, policy in ROLE_POLICIES.items():
                root.sys.create_or_update_policy(name, policy)
            for role in APPROLE_NAMES:
                root.auth.approle.create_or_update_approle(
                    role,
                    token_policies=[role],
                    token_no_default_policy=True,
                    token_type="service",  # noqa: S106 (a token type, not a token)
                    token_period=RENEWAL_PERIOD,
                    secret_id_num_uses=1,
                    secret_id_ttl=f"{WRAP_TTL_SECONDS}s",
                )
            root.auth.approle.create_or_update_approle(
                "supervisor",
                token_policies=["supervisor", users.ENROLLMENT_POLICY, *development_policies],
                token_no_default_policy=True,
                token_type="service",  # noqa: S106 (a token type, not a token)
                token_ttl=f"{WRAP_TTL_SECONDS}s",
                token_max_ttl=f"{WRAP_TTL_SECONDS}s",
            )
            mounts = [users.configure_user_login(root)]
            if is_development:
                mounts.append(users.configure_development_login(root))
        lines = "".join(f"{mount}\n" for mount in mounts)
        write_secret_file(self._project.state_dir / LOGIN_PATH_FILE, lines.encode(), self._privileges, None)
        self._wait_for_kv_engine(root)

    def store_secret(self, path: str, values: dict[str, str]) -> None:
        """Store one secret. Only the service that the path's first part names can read it."""
        with map_errors(f"store {path}"):
            self._root_client.secrets.kv.v2.create_or_update_secret(path=path, secret=values, mount_point="secret")

    def finish_bootstrap(self) -> None:
        """Write the verifier keys of ledger and services, revoke the root token, then write supervisor.key."""
        root = self._root_client
        with map_errors("read its roles"):
            approle = root.auth.approle
            ids = {role: str(approle.read_role_id(role)["data"]["role_id"]) for role in (*APPROLE_NAMES, "supervisor")}
            secret: Any = approle.generate_secret_id("supervisor")
            key = self._read_verifier_key("ledger", "")
            service_keys = [
                self._read_verifier_key(service_key_name(service), f"{KEY_NAME_PART}{service}")
                for service in SIGNED_SERVICES
            ]
        write_shared_file(self._project.ledger_dir / "vkey", f"{key}\n".encode(), self._privileges, "sequencer")
        lines = "".join(f"{service_key}\n" for service_key in service_keys)
        service_keys_path = self._project.state_dir / SERVICE_KEYS_FILE
        write_shared_file(service_keys_path, lines.encode(), self._privileges, None, group="project")
        with map_errors("revoke the root token"):
            root.auth.token.revoke_self()
        root.adapter.close()
        credentials = {
            "role_id": ids["supervisor"],
            "secret_id": str(secret["data"]["secret_id"]),
            "roles": {role: ids[role] for role in APPROLE_NAMES},
        }
        write_secret_file(supervisor_key_path(self._project), json.dumps(credentials).encode(), self._privileges, None)

    def _read_verifier_key(self, key: str, suffix: str) -> VerifierKey:
        response: Any = self._root_client.secrets.transit.read_key(key)
        public_key = base64.b64decode(response["data"]["keys"]["1"]["public_key"])
        return VerifierKey(log_origin(self._project, self._privileges) + suffix, KIND_LOG, public_key)

    def _wait_for_kv_engine(self, root: hvac.Client) -> None:
        """Wait until the key-value engine has upgraded itself to version 2, at most 10 seconds."""
        from hvac.exceptions import InvalidRequest

        pause = threading.Event()
        for _ in range(200):
            try:
                root.secrets.kv.v2.read_configuration(mount_point="secret")
                return
            except InvalidRequest:
                pause.wait(0.05)


def log_origin(project: Project, privileges: ServicePrivileges) -> str:
    """Return the ledger's origin, its permanent name; create it if it is missing."""
    path = project.ledger_dir / "origin"
    if not path.exists():
        host = ORIGIN_HOST if project.simulation is None else SIMULATION_HOST
        name = f"{host}/{project.name}/{secrets.token_hex(4)}"
        write_shared_file(path, name.encode(), privileges, "sequencer")
    return path.read_text(encoding="ascii").strip()


def issue_secret_id(project: Project, role: str) -> dict[str, str]:
    """Issue {role_id, wrapped} of a role. The secret-id can be unwrapped once, within 60 seconds."""
    credentials = json.loads(supervisor_key_path(project).read_bytes())
    if role not in credentials["roles"]:
        raise CorruptedError(
            f"OpenBao of {project.root} has no role {role}: an older version created it",
            fix="prove what you need, then `wellspring clean` and `wellspring up`",
        )
    with supervisor_session(project) as client, map_errors(f"issue a secret-id for {role}"):
        response: Any = client.auth.approle.generate_secret_id(role, wrap_ttl=f"{WRAP_TTL_SECONDS}s")
    return {"role_id": str(credentials["roles"][role]), "wrapped": str(response["wrap_info"]["token"])}


def request_supervisor_key(project: Project) -> JournalKey:
    """Make the key with which this supervisor signs the lines of its journal. OpenBao must be up."""
    with supervisor_session(project) as client:
        transit: Any = client.secrets.transit
        return create_journal_key(
            "supervisor", lambda text: sign_in_transit(transit, service_key_name("supervisor"), text)
        )


def rotate_supervisor_key(project: Project, privileges: ServicePrivileges) -> None:
    """Replace the supervisor's credential: the new one is durable in its file before every other one is destroyed.

    A crash in between leaves a credential that the next rotation destroys.
    """
    credentials = json.loads(supervisor_key_path(project).read_bytes())
    with supervisor_session(project) as client, map_errors("rotate the supervisor's credential"):
        approle: Any = client.auth.approle
        wrapped: Any = approle.generate_secret_id("supervisor", wrap_ttl=f"{WRAP_TTL_SECONDS}s")
        unwrap_client = open_client(find_server_socket(project, "openbao"), str(wrapped["wrap_info"]["token"]))
        try:
            issued: Any = unwrap_client.adapter.post("/v1/sys/wrapping/unwrap")["data"]
        finally:
            unwrap_client.adapter.close()
        content = json.dumps({**credentials, "secret_id": str(issued["secret_id"])}).encode()
        write_secret_file(supervisor_key_path(project), content, privileges, None)
        for accessor in approle.list_secret_id_accessors("supervisor")["data"]["keys"]:
            if accessor != issued["secret_id_accessor"]:
                approle.destroy_secret_id_accessor("supervisor", accessor)


@contextmanager
def supervisor_session(project: Project) -> Generator[hvac.Client]:
    """Log in with supervisor.key to issue secret-ids and enroll users; revoke the token at the end."""
    credentials = json.loads(supervisor_key_path(project).read_bytes())
    client = open_client(find_server_socket(project, "openbao"))
    try:
        with map_errors("log the supervisor in"):
            login: Any = client.auth.approle.login(role_id=credentials["role_id"], secret_id=credentials["secret_id"])
        client.token = str(login["auth"]["client_token"])
        try:
            yield client
        finally:
            with map_errors("revoke the supervisor's token"):
                client.auth.token.revoke_self()
    finally:
        client.adapter.close()
