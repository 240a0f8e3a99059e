"""OpenBao's secrets, roles and policies after the bootstrap. Uses the real server."""

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.builders import projects
from wellspring.bootstrap import request_journal_key
from wellspring.embedded import layout, openbao_setup
from wellspring.embedded.openbao_setup import issue_secret_id
from wellspring.errors import CorruptedError, Refused
from wellspring.project import Project
from wellspring.runtime import privileges
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.supervisor import client as client_module
from wellspring.trust.identity.openbao import login_service, map_errors, open_client
from wellspring.trust.ledger.journal_key import read_service_keys
from wellspring.trust.secrets.openbao import OpenBaoSecretStore
from wellspring_verify.canonical import dumps_canonical
from wellspring_verify.entry_signature import SIGNED_SERVICES, find_signature_fault
from wellspring_verify.notes import KIND_LOG, parse_verifier_key

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with projects.running_project() as project:
        yield project


def ask(project: Project, token: str, method: str, path: str, **values: Any) -> dict[str, Any]:
    """Send one request with a token. Raises Refused."""
    client = open_client(find_server_socket(project, "openbao"), token)
    try:
        with map_errors(path):
            return client.adapter.request(method, f"/v1/{path}", **({"json": values} if values else {}))
    finally:
        client.adapter.close()


@pytest.fixture
def supervisor_token(project: Project) -> str:
    """Return a token of a login with supervisor.key."""
    stored = json.loads(openbao_setup.supervisor_key_path(project).read_bytes())
    values = {"role_id": stored["role_id"], "secret_id": stored["secret_id"]}
    return ask(project, "", "post", "auth/approle/login", **values)["auth"]["client_token"]


def test_no_token_outlives_the_bootstrap_with_the_root_policy(project: Project):
    log = (project.state_dir / "openbao/audit.log").read_text().splitlines()
    result = [json.loads(line) for line in log]
    # The audit log holds the revocation of the root token, and no later request with the root policy.
    used = [n for n, line in enumerate(result) if "root" in line.get("auth", {}).get("policies", [])]
    assert used
    assert result[used[-1]]["request"]["path"] == "auth/token/revoke-self"
    assert result[used[-1]]["type"] == "response"
    assert "error" not in result[used[-1]]


def test_no_file_of_the_project_holds_a_token_or_the_recovery_key(project: Project):
    stored = json.loads(openbao_setup.supervisor_key_path(project).read_bytes())
    assert set(stored) == {"role_id", "secret_id", "roles"}
    # OpenBao's storage is encrypted; search every other file.
    for path in project.root.rglob("*"):
        if path.is_file() and "openbao/data" not in path.as_posix():
            content = path.read_bytes()
            assert b"root_token" not in content or b"hmac-sha256" in content, path
            assert b'"s.' not in content, path
            assert b"recovery_key" not in content or b"hmac-sha256" in content, path


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "sys/mounts"),
        ("get", "secret/data/enclave/postgres"),
        ("get", "secret/data/worker/valkey"),
        ("get", "secret/data/api/valkey"),
        ("get", "auth/approle/role/enclave"),
        ("get", "auth/approle/role/enclave/role-id"),
        ("post", "auth/approle/role/supervisor/secret-id"),
        ("post", "auth/approle/role/enclave"),
        ("post", "auth/token/create"),
        ("post", "transit/sign/ledger"),
        ("post", "transit/sign/models"),
        ("post", "transit/datakey/plaintext/originals"),
        ("post", "sys/policies/acl/supervisor"),
        ("get", "auth/token/lookup-self"),
    ],
)
def test_the_supervisor_is_denied_every_other_request(project: Project, supervisor_token: str, method: str, path: str):
    with pytest.raises(Refused):
        ask(project, supervisor_token, method, path, **({"input": "eA=="} if method == "post" else {}))


@pytest.mark.parametrize("role", openbao_setup.APPROLE_NAMES)
def test_the_supervisor_issues_only_wrapped_secret_ids(project: Project, supervisor_token: str, role: str):
    path = f"auth/approle/role/{role}/secret-id"
    with pytest.raises(Refused):
        ask(project, supervisor_token, "post", path)
    client = open_client(find_server_socket(project, "openbao"), supervisor_token)
    try:
        wrapped: Any = client.auth.approle.generate_secret_id(role, wrap_ttl="60s")
        assert "secret_id" not in json.dumps(wrapped["data"] or {})
        assert wrapped["wrap_info"]["ttl"] == 60
        for refused in ({"wrap_ttl": "1h"}, {"wrap_ttl": "60s", "metadata": {"as": "somebody"}}):
            with pytest.raises(Refused), map_errors(path):
                client.auth.approle.generate_secret_id(role, **refused)
    finally:
        client.adapter.close()


def test_a_wrapped_secret_id_can_be_unwrapped_once(project: Project):
    credential = issue_secret_id(project, "worker")
    projects.login_with_credential(project, credential).close()
    with pytest.raises(Refused, match="unwrapped before"):
        projects.login_with_credential(project, credential)


def test_a_secret_id_logs_in_once(project: Project):
    credential = issue_secret_id(project, "worker")
    secret = ask(project, credential["wrapped"], "post", "sys/wrapping/unwrap")["data"]["secret_id"]
    values = {"role_id": credential["role_id"], "secret_id": secret}
    token = ask(project, "", "post", "auth/approle/login", **values)["auth"]["client_token"]
    with pytest.raises(Refused):
        ask(project, "", "post", "auth/approle/login", **values)
    ask(project, token, "post", "auth/token/revoke-self")


def test_a_secret_id_of_one_role_does_not_log_in_as_another(project: Project):
    enclave, worker = issue_secret_id(project, "enclave"), issue_secret_id(project, "worker")
    with pytest.raises(Refused):
        login_service(
            find_server_socket(project, "openbao"), role_id=enclave["role_id"], wrapped_secret_id=worker["wrapped"]
        )


@pytest.mark.parametrize("role", openbao_setup.APPROLE_NAMES)
def test_a_service_reads_only_its_own_secrets(project: Project, role: str):
    own = {"enclave": {"enclave/postgres", "enclave/sftp", "enclave/outbox"}}.get(role, {f"{role}/valkey"})
    with projects.login_with_credential(project, openbao_setup.issue_secret_id(project, role)) as session:
        secrets = OpenBaoSecretStore(session)
        for path in ("worker/valkey", "api/valkey", "enclave/postgres", "enclave/sftp", "enclave/outbox"):
            if path in own:
                assert secrets.read_secret(path), path
            else:
                with pytest.raises(Refused):
                    secrets.read_secret(path)


@pytest.mark.parametrize("path", ["transit/sign/models", "transit/sign/ledger", "transit/encrypt/tokens"])
def test_the_api_signs_nothing_and_encrypts_nothing(project: Project, path: str):
    with (
        projects.login_with_credential(project, openbao_setup.issue_secret_id(project, "api")) as session,
        pytest.raises(Refused),
    ):
        ask(project, session.client.token, "post", path, input="eA==", plaintext="eA==")


@pytest.mark.parametrize("role", openbao_setup.APPROLE_NAMES)
def test_only_the_sequencer_signs_for_the_log(project: Project, role: str):
    with projects.login_with_credential(project, openbao_setup.issue_secret_id(project, role)) as session:
        if role == "sequencer":
            assert ask(project, session.client.token, "post", "transit/sign/ledger", input="eA==")["data"]["signature"]
        else:
            with pytest.raises(Refused):
                ask(project, session.client.token, "post", "transit/sign/ledger", input="eA==")
        if role != "worker":
            with pytest.raises(Refused):
                ask(project, session.client.token, "post", "transit/sign/models", input="eA==")


@pytest.mark.parametrize("role", openbao_setup.APPROLE_NAMES)
def test_a_service_certifies_only_the_keys_of_its_own_journals(project: Project, role: str):
    keys = read_service_keys(project.state_dir)
    with projects.login_with_credential(project, openbao_setup.issue_secret_id(project, role)) as session:
        for service in SIGNED_SERVICES:
            if service != role:
                with pytest.raises(Refused):
                    request_journal_key(session, service)
                continue
            unsigned = {"service": service, "subject": ""}
            signature = request_journal_key(session, service).sign_line(dumps_canonical(unsigned)).model_dump()
            content = dumps_canonical({**unsigned, "signature": signature})
            assert find_signature_fault(service, content, signature, keys) == ""


def test_the_supervisor_signs_its_own_journal(project: Project):
    assert openbao_setup.request_supervisor_key(project).journal == "supervisor"


def test_secret_files_have_mode_0600_and_their_owner(project: Project):
    granted = privileges.detect_privileges(project)
    uids = granted.users.uids if granted.separation == "user" else {}
    expected = {
        project.state_dir / "seal.key": uids.get("keys", os.geteuid()),
        project.state_dir / "supervisor.key": os.geteuid(),
        project.root / "witness/key": uids.get("witness", os.geteuid()),
        project.vendor_dir / "host_key": uids.get("vendor", os.geteuid()),
    }
    for path, owner in expected.items():
        matches = path.stat()
        assert (matches.st_mode & 0o777, matches.st_uid) == (0o600, owner), path


def test_the_logs_key_is_written_with_its_origin(project: Project):
    key = parse_verifier_key((project.ledger_dir / "vkey").read_text().strip())
    assert key.kind == KIND_LOG
    assert key.name == (project.ledger_dir / "origin").read_text().strip()
    assert key.name.startswith(f"wellspring.example.com/{project.name}/")


def log_in_supervisor(project: Project, role_id: str, secret_id: str) -> str:
    return ask(project, "", "post", "auth/approle/login", role_id=role_id, secret_id=secret_id)["auth"]["client_token"]


def test_each_start_replaces_the_credential_of_the_supervisor(project: Project):
    stored = json.loads(openbao_setup.supervisor_key_path(project).read_bytes())
    with openbao_setup.supervisor_session(project) as client:
        # What a rotation that was killed leaves, or what a thief of the file makes.
        wrapped: Any = client.auth.approle.generate_secret_id("supervisor", wrap_ttl="60s")
    extra = ask(project, wrapped["wrap_info"]["token"], "post", "sys/wrapping/unwrap")["data"]["secret_id"]
    for secret_id in (stored["secret_id"], extra):
        assert log_in_supervisor(project, stored["role_id"], secret_id)
    client_module.stop_servers(project)
    client_module.start_servers(project)
    renewed = json.loads(openbao_setup.supervisor_key_path(project).read_bytes())
    assert {**renewed, "secret_id": ""} == {**stored, "secret_id": ""}
    assert log_in_supervisor(project, renewed["role_id"], renewed["secret_id"])
    for secret_id in (stored["secret_id"], extra):
        with pytest.raises(Refused):
            log_in_supervisor(project, stored["role_id"], secret_id)


def test_an_unfinished_bootstrap_is_repeated(project: Project):
    client_module.stop_servers(project)
    stored = openbao_setup.supervisor_key_path(project).read_bytes()
    journals = [path for path in project.journals_dir.glob("*/*.log") if path.parent.name != "supervisor"]
    for path in journals:
        path.unlink()
    (project.ledger_dir / "checkpoint").unlink()
    shutil.rmtree(project.ledger_dir / "tile")
    origin = (project.ledger_dir / "origin").read_text()
    # The state after a power failure before the last file is written.
    openbao_setup.supervisor_key_path(project).unlink()
    client_module.start_servers(project)
    assert openbao_setup.supervisor_key_path(project).read_bytes() != stored
    # A log with another key has another origin.
    assert (project.ledger_dir / "origin").read_text() != origin
    projects.login_with_credential(project, issue_secret_id(project, "enclave")).close()


def test_a_lost_supervisor_key_never_deletes_existing_data(project: Project):
    client_module.stop_servers(project)
    stored = openbao_setup.supervisor_key_path(project).read_bytes()
    assert (project.ledger_dir / "checkpoint").exists()
    openbao_setup.supervisor_key_path(project).unlink()
    try:
        with pytest.raises(CorruptedError, match="already holds data"):
            client_module.start_servers(project)
        assert (project.state_dir / "openbao/data").exists()
        assert (project.state_dir / "postgres/data").exists()
    finally:
        layout.write_secret_file(
            openbao_setup.supervisor_key_path(project), stored, privileges.detect_privileges(project), None
        )
        client_module.start_servers(project)
