"""Give the key server its keys, roles and policies, once; then revoke the root token and drop the recovery key."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wellspring.errors import Broken
from wellspring.project import Project
from wellspring.servers import openbao, people, postgres
from wellspring.servers.folders import write_public, write_secret
from wellspring.servers.privileges import Privileges
from wellspring.trust.identity.openbao import answering, connect
from wellspring_verify.notes import LOG, Key

if TYPE_CHECKING:
    import hvac

ROLES = ("worker", "enclave", "api")
WRAP_SECONDS = 60
PERIOD = "15m"

SELF = """
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
"""
POLICIES = {
    "enclave": SELF
    + "".join(
        f'path "transit/datakey/plaintext/{key}" {{ capabilities = ["update"] }}\n'
        f'path "transit/decrypt/{key}" {{ capabilities = ["update"] }}\n'
        for key in ("originals", "quarantine", "tokens")
    )
    + 'path "secret/data/enclave/*" { capabilities = ["create", "read", "update"] }\n',
    "worker": SELF
    + """
path "transit/sign/ledger" { capabilities = ["update"] }
path "transit/keys/ledger" { capabilities = ["read"] }
path "transit/sign/models" { capabilities = ["update"] }
path "transit/keys/models" { capabilities = ["read"] }
path "secret/data/worker/*" { capabilities = ["read"] }
""",
    "api": SELF
    + """
path "transit/keys/models" { capabilities = ["read"] }
path "secret/data/api/*" { capabilities = ["read"] }
""",
    # min_wrapping_ttl: an unwrapped secret-id is refused. denied_parameters: it may choose nothing about it.
    "supervisor": 'path "auth/token/revoke-self" { capabilities = ["update"] }\n'
    + "".join(
        f"""
path "auth/approle/role/{role}/secret-id" {{
  capabilities = ["update"]
  min_wrapping_ttl = "1s"
  max_wrapping_ttl = "{WRAP_SECONDS}s"
  denied_parameters = {{ "*" = [] }}
}}
"""
        for role in ROLES
    ),
}


def supervisor_key(project: Project) -> Path:
    """The file that is written last: while it is missing, the bootstrap has not finished."""
    return project.state / "supervisor.key"


def is_done(project: Project) -> bool:
    """Say whether the key server has its keys and roles, and the root token is gone."""
    return supervisor_key(project).exists()


def undo(project: Project) -> None:
    """Remove what an unfinished bootstrap left. Raises Broken if data was already made under keys that are now lost."""
    made = [project.ledger / "checkpoint", *project.enclave.glob("*/*"), *project.journals.glob("*/*.log")]
    held = [path for path in made if path.exists() and path.parent.name != "supervisor"]
    if held:
        raise Broken(
            f"{supervisor_key(project)} is gone, and this project already holds data ({held[0]})",
            fix="restore the file from a backup, or give up this project's data with `wellspring clean`",
        )
    openbao.wipe(project)
    postgres.wipe(project)
    # A log has one key for ever: with another key it is another log, under another name.
    for path in (project.vendor / "authorized_keys", project.ledger / "vkey", project.ledger / "origin"):
        path.unlink(missing_ok=True)


class Bootstrap:
    """The few seconds in which a root token exists: in this object's memory, and nowhere else."""

    def __init__(self, project: Project, privileges: Privileges) -> None:
        """Initialise the key server. It seals itself with seal.key; the recovery key is dropped unread."""
        self._project = project
        self._privileges = privileges
        client = connect(project.socket("openbao"))
        with answering("initialise itself"):
            answer: Any = client.adapter.put("/v1/sys/init", json={"recovery_shares": 1, "recovery_threshold": 1})
        client.adapter.close()
        self._root = connect(project.socket("openbao"), str(answer["root_token"]))

    def configure(self) -> None:
        """Create keys, secrets, policies and roles; print nothing, keep nothing."""
        root = self._root
        with answering("make its keys and roles"):
            root.sys.enable_secrets_engine("transit")
            root.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
            root.sys.enable_auth_method("approle")
            for key in ("originals", "quarantine", "tokens"):
                root.secrets.transit.create_key(key, key_type="aes256-gcm96")
            for key in ("ledger", "models"):
                root.secrets.transit.create_key(key, key_type="ed25519")
            for name, policy in POLICIES.items():
                root.sys.create_or_update_policy(name, policy)
            for role in ROLES:
                root.auth.approle.create_or_update_approle(
                    role,
                    token_policies=[role],
                    token_no_default_policy=True,
                    token_type="service",  # noqa: S106 (a kind of token, no token)
                    token_period=PERIOD,
                    secret_id_num_uses=1,
                    secret_id_ttl=f"{WRAP_SECONDS}s",
                )
            root.auth.approle.create_or_update_approle(
                "supervisor",
                token_policies=["supervisor", people.ENROLMENT],
                token_no_default_policy=True,
                token_type="service",  # noqa: S106 (a kind of token, no token)
                token_ttl=f"{WRAP_SECONDS}s",
                token_max_ttl=f"{WRAP_SECONDS}s",
            )
            people.configure(root)
        self._wait_for_secrets(root)

    def keep(self, path: str, values: dict[str, str]) -> None:
        """Put one secret where only the service may read it that its path begins with."""
        with answering(f"keep {path}"):
            self._root.secrets.kv.v2.create_or_update_secret(path=path, secret=values, mount_point="secret")

    def finish(self) -> None:
        """Write what outlives the bootstrap, revoke the root token, and only then the file that says it is done."""
        root = self._root
        with answering("name its roles"):
            approle = root.auth.approle
            ids = {role: str(approle.read_role_id(role)["data"]["role_id"]) for role in (*ROLES, "supervisor")}
            secret: Any = approle.generate_secret_id("supervisor")
            public: Any = root.secrets.transit.read_key("ledger")
        name = origin(self._project, self._privileges)
        key = Key(name, LOG, base64.b64decode(public["data"]["keys"]["1"]["public_key"]))
        write_public(self._project.ledger / "vkey", f"{key}\n".encode(), self._privileges, "worker")
        with answering("revoke the root token"):
            root.auth.token.revoke_self()
        root.adapter.close()
        kept = {
            "role_id": ids["supervisor"],
            "secret_id": str(secret["data"]["secret_id"]),
            "roles": {role: ids[role] for role in ROLES},
        }
        write_secret(supervisor_key(self._project), json.dumps(kept).encode(), self._privileges, None)

    def _wait_for_secrets(self, root: hvac.Client) -> None:
        """Wait until the key-value engine has upgraded itself to version 2, which takes it an instant."""
        from hvac.exceptions import InvalidRequest

        pause = threading.Event()
        for _ in range(200):
            try:
                root.secrets.kv.v2.read_configuration(mount_point="secret")
                return
            except InvalidRequest:
                pause.wait(0.05)


def origin(project: Project, privileges: Privileges) -> str:
    """Return the log's origin, making it the first time: it is the log's name for ever."""
    path = project.ledger / "origin"
    if not path.exists():
        name = f"wellspring.example.com/{project.name}/{secrets.token_hex(4)}"
        write_public(path, name.encode(), privileges, "worker")
    return path.read_text(encoding="ascii").strip()


def issue(project: Project, role: str) -> dict[str, str]:
    """Issue one wrapped secret-id of a role: {role_id, wrapped}; it opens once, within 60 seconds."""
    kept = json.loads(supervisor_key(project).read_bytes())
    with supervised(project) as client, answering(f"issue a secret-id for {role}"):
        answer: Any = client.auth.approle.generate_secret_id(role, wrap_ttl=f"{WRAP_SECONDS}s")
    return {"role_id": str(kept["roles"][role]), "wrapped": str(answer["wrap_info"]["token"])}


@contextmanager
def supervised(project: Project) -> Generator[hvac.Client]:
    """Log in with supervisor.key, for a login that may issue secret-ids and enrol people, and ends here."""
    kept = json.loads(supervisor_key(project).read_bytes())
    client = connect(project.socket("openbao"))
    try:
        with answering("let the supervisor in"):
            login: Any = client.auth.approle.login(role_id=kept["role_id"], secret_id=kept["secret_id"])
        client.token = str(login["auth"]["client_token"])
        try:
            yield client
        finally:
            with answering("end the supervisor's login"):
                client.auth.token.revoke_self()
    finally:
        client.adapter.close()
