"""A role of OpenBao, or the credential of the supervisor, against the keys and secrets of another service."""

from __future__ import annotations

from typing import Any

from tests.builders.projects import login_with_credential
from tests.redteam.catalogue import attempt
from tests.redteam.target import Target
from wellspring.embedded.openbao_setup import issue_secret_id, supervisor_key_path, supervisor_session
from wellspring.trust.identity.openbao import map_errors
from wellspring.trust.identity.users import read_login_mount
from wellspring.trust.keys.openbao import OpenBaoSigner
from wellspring.trust.secrets.openbao import OpenBaoSecretStore

DENIED = ("openbao permission denied",)


@attempt(
    "service-users",
    "worker",
    refused="refused",
    allowed="read",
    needs="servers",
    recorded=DENIED,
)
def read_secret_of_enclave(target: Target, is_twin: bool) -> str:
    """The worker's role in OpenBao reads the password of PostgreSQL; the enclave's role may."""
    with target.session("enclave" if is_twin else "worker") as session:
        return "read" if OpenBaoSecretStore(session).read_secret("enclave/postgres")["password"] else "empty"


@attempt(
    "service-users",
    "worker",
    refused="refused",
    allowed="signed",
    needs="servers",
    recorded=DENIED,
)
def sign_for_the_log(target: Target, is_twin: bool) -> str:
    """The worker's role signs with the key of the log; the sequencer's role may."""
    with target.session("sequencer" if is_twin else "worker") as session:
        return "signed" if OpenBaoSigner(session, "ledger").sign(b"a checkpoint") else "empty"


@attempt(
    "service-users",
    "api",
    refused="refused",
    allowed="signed",
    needs="servers",
    recorded=DENIED,
)
def certify_key_of_supervisor(target: Target, is_twin: bool) -> str:
    """The API's role certifies a key for the supervisor's journal, where users are enrolled; it may for its own."""
    with target.session("api") as session:
        return "signed" if OpenBaoSigner(session, f"journal-{'api' if is_twin else 'supervisor'}").sign(b"x") else ""


@attempt(
    "service-users",
    "api",
    refused="refused",
    allowed="signed",
    needs="servers",
    recorded=DENIED,
)
def sign_a_model(target: Target, is_twin: bool) -> str:
    """The API's role signs a model; the worker's role may."""
    with target.session("worker" if is_twin else "api") as session:
        return "signed" if OpenBaoSigner(session, "models").sign(b"x") else ""


@attempt(
    "service-users",
    "owner",
    refused="refused",
    allowed="read",
    needs="servers",
    recorded=DENIED,
)
def read_secret_as_supervisor(target: Target, is_twin: bool) -> str:
    """The owner reads a secret with the supervisor's credential; the enclave's role may read it."""
    if is_twin:
        with target.session("enclave") as session:
            return "read" if OpenBaoSecretStore(session).read_secret("enclave/postgres") else "empty"
    with supervisor_session(target.project) as client, map_errors("read a secret"):
        client.adapter.get("/v1/secret/data/enclave/postgres")
    return "read"


@attempt(
    "service-users", "owner", refused="refused", allowed="wrapped", needs="servers",
    # An attempt before it may have the entry of this minute.
    recorded=("authenticate role:supervisor", "openbao permission denied"),
)  # fmt: skip
def get_an_unwrapped_credential(target: Target, is_twin: bool) -> str:
    """The owner asks, as the supervisor, for a credential of the enclave that is not wrapped; a wrapped one it gets."""
    with supervisor_session(target.project) as client, map_errors("issue a secret-id"):
        wrap_ttl = "60s" if is_twin else None
        issued = client.auth.approle.generate_secret_id("enclave", wrap_ttl=wrap_ttl)
        return "wrapped" if issued.get("wrap_info") else "unwrapped"


@attempt(
    "service-users", "owner", refused="refused", allowed="logged in", needs="servers",
    recorded=("authenticate wrapped_credential",),
)  # fmt: skip
def use_a_credential_twice(target: Target, is_twin: bool) -> str:
    """Somebody uses a wrapped credential that a service has used; a fresh one is accepted."""
    credential = issue_secret_id(target.project, "worker")
    if not is_twin:
        login_with_credential(target.project, credential).close()
    login_with_credential(target.project, credential).close()
    return "logged in"


@attempt(
    "service-users", "owner", refused="refused", allowed="logged in", needs="restart",
    recorded=("authenticate",),
)  # fmt: skip
def use_an_old_credential_of_the_supervisor(target: Target, is_twin: bool) -> str:
    """Somebody uses a copy of the supervisor's credential from before the last start; the present one is accepted."""
    old = target.restart.supervisor_key
    path = supervisor_key_path(target.project)
    content = path.read_bytes()
    path.write_bytes(content if is_twin else old)
    try:
        with supervisor_session(target.project):
            return "logged in"
    finally:
        path.write_bytes(content)


@attempt(
    "service-users", "worker", refused="not there", allowed="there", needs="servers",
    recorded=DENIED,
)  # fmt: skip
def search_the_path_of_logins(target: Target, is_twin: bool) -> str:
    """The worker's role looks for the secret path of logins in what OpenBao tells; the owner reads it in a file."""
    mount = read_login_mount(target.project)
    if is_twin:
        return "there" if mount else "not there"
    with target.session("worker") as session:
        paths = ("internal/specs/openapi", "internal/ui/mounts", "auth", "mounts", "internal/ui/resultant-acl")
        client: Any = session.client
        texts = [
            client.session.get(f"http://openbao/v1/sys/{path}", headers={"X-Vault-Token": client.token}).text
            for path in paths
        ]
    return "there" if any(mount in text for text in texts) else "not there"
