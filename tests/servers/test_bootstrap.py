"""What the key server holds after the bootstrap, and what nobody may do with it: on the real server."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import houses
from wellspring.errors import Broken, Refused
from wellspring.project import Project
from wellspring.servers import bootstrap, folders, privileges, supervisor
from wellspring.servers.control import credential
from wellspring.trust.identity.openbao import answering, connect, login
from wellspring.trust.secrets.openbao import OpenBaoSecrets
from wellspring_verify.notes import LOG, parse_key

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def here() -> Iterator[Project]:
    with houses.house() as project:
        yield project


def ask(project: Project, token: str, method: str, path: str, **values: Any) -> dict[str, Any]:
    """Ask the key server one thing with a token. Raises Refused."""
    client = connect(project.socket("openbao"), token)
    try:
        with answering(path):
            return client.adapter.request(method, f"/v1/{path}", **({"json": values} if values else {}))
    finally:
        client.adapter.close()


@pytest.fixture
def supervisors(here: Project) -> str:
    """Log in with supervisor.key, and return the token."""
    kept = json.loads(bootstrap.supervisor_key(here).read_bytes())
    values = {"role_id": kept["role_id"], "secret_id": kept["secret_id"]}
    return ask(here, "", "post", "auth/approle/login", **values)["auth"]["client_token"]


def test_no_token_outlives_the_bootstrap_with_the_root_policy(here: Project):
    log = (here.state / "openbao/audit.log").read_text().splitlines()
    told = [json.loads(line) for line in log]
    # The root token's own end stands in the audit log, and no request with the root policy comes after it.
    used = [n for n, line in enumerate(told) if "root" in line.get("auth", {}).get("policies", [])]
    assert used
    assert told[used[-1]]["request"]["path"] == "auth/token/revoke-self"
    assert told[used[-1]]["type"] == "response"
    assert "error" not in told[used[-1]]


def test_no_file_of_the_project_holds_a_token_or_the_recovery_key(here: Project):
    kept = json.loads(bootstrap.supervisor_key(here).read_bytes())
    assert set(kept) == {"role_id", "secret_id", "roles"}
    # OpenBao's storage is sealed; everything else is looked through.
    for path in here.root.rglob("*"):
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
def test_the_supervisor_may_do_nothing_else(here: Project, supervisors: str, method: str, path: str):
    with pytest.raises(Refused):
        ask(here, supervisors, method, path, **({"input": "eA=="} if method == "post" else {}))


@pytest.mark.parametrize("role", bootstrap.ROLES)
def test_the_supervisor_issues_only_wrapped_secret_ids(here: Project, supervisors: str, role: str):
    path = f"auth/approle/role/{role}/secret-id"
    with pytest.raises(Refused):
        ask(here, supervisors, "post", path)
    client = connect(here.socket("openbao"), supervisors)
    try:
        wrapped: Any = client.auth.approle.generate_secret_id(role, wrap_ttl="60s")
        assert "secret_id" not in json.dumps(wrapped["data"] or {})
        assert wrapped["wrap_info"]["ttl"] == 60
        for refused in ({"wrap_ttl": "1h"}, {"wrap_ttl": "60s", "metadata": {"as": "somebody"}}):
            with pytest.raises(Refused), answering(path):
                client.auth.approle.generate_secret_id(role, **refused)
    finally:
        client.adapter.close()


def test_a_wrapped_secret_id_opens_once(here: Project):
    born_with = credential(here, "worker")
    login(here.socket("openbao"), **born_with).close()
    with pytest.raises(Refused, match="opened before"):
        login(here.socket("openbao"), **born_with)


def test_a_secret_id_logs_in_once(here: Project):
    born_with = credential(here, "worker")
    secret = ask(here, born_with["wrapped"], "post", "sys/wrapping/unwrap")["data"]["secret_id"]
    values = {"role_id": born_with["role_id"], "secret_id": secret}
    token = ask(here, "", "post", "auth/approle/login", **values)["auth"]["client_token"]
    with pytest.raises(Refused):
        ask(here, "", "post", "auth/approle/login", **values)
    ask(here, token, "post", "auth/token/revoke-self")


def test_a_secret_id_of_one_role_does_not_log_in_as_another(here: Project):
    enclave, worker = credential(here, "enclave"), credential(here, "worker")
    with pytest.raises(Refused):
        login(here.socket("openbao"), role_id=enclave["role_id"], wrapped=worker["wrapped"])


@pytest.mark.parametrize("role", bootstrap.ROLES)
def test_a_service_reads_only_its_own_secrets(here: Project, role: str):
    own = {"enclave": {"enclave/postgres", "enclave/sftp"}}.get(role, {f"{role}/valkey"})
    with login(here.socket("openbao"), **bootstrap.issue(here, role)) as session:
        secrets = OpenBaoSecrets(session)
        for path in ("worker/valkey", "api/valkey", "enclave/postgres", "enclave/sftp"):
            if path in own:
                assert secrets.read(path), path
            else:
                with pytest.raises(Refused):
                    secrets.read(path)


@pytest.mark.parametrize("path", ["transit/sign/models", "transit/sign/ledger", "transit/encrypt/tokens"])
def test_the_api_signs_nothing_and_encrypts_nothing(here: Project, path: str):
    with login(here.socket("openbao"), **bootstrap.issue(here, "api")) as session, pytest.raises(Refused):
        ask(here, session.client.token, "post", path, input="eA==", plaintext="eA==")


def test_the_secrets_in_files_are_their_owners_alone(here: Project):
    uids = privileges.UIDS if privileges.survey(here).separation == "user" else {}
    expected = {
        here.state / "seal.key": uids.get("keys", os.geteuid()),
        here.state / "supervisor.key": os.geteuid(),
        here.root / "witness/key": uids.get("witness", os.geteuid()),
        here.vendor / "host_key": uids.get("vendor", os.geteuid()),
    }
    for path, owner in expected.items():
        found = path.stat()
        assert (found.st_mode & 0o777, found.st_uid) == (0o600, owner), path


def test_the_logs_key_is_written_with_its_origin(here: Project):
    key = parse_key((here.ledger / "vkey").read_text().strip())
    assert key.kind == LOG
    assert key.name == (here.ledger / "origin").read_text().strip()
    assert key.name.startswith(f"wellspring.example.com/{here.name}/")


def test_an_unfinished_bootstrap_is_done_again(here: Project):
    supervisor.down(here)
    kept = bootstrap.supervisor_key(here).read_bytes()
    journals = list((here.journals / "enclave").glob("*.log"))
    for path in journals:
        path.unlink()
    origin = (here.ledger / "origin").read_text()
    # As if the power had failed just before the last file was written.
    bootstrap.supervisor_key(here).unlink()
    supervisor.up(here)
    assert bootstrap.supervisor_key(here).read_bytes() != kept
    # Another key is another log.
    assert (here.ledger / "origin").read_text() != origin
    login(here.socket("openbao"), **credential(here, "enclave")).close()


def test_a_lost_supervisor_key_never_costs_data_that_was_made(here: Project):
    supervisor.down(here)
    kept = bootstrap.supervisor_key(here).read_bytes()
    (here.ledger / "checkpoint").write_text("a log that holds something")
    bootstrap.supervisor_key(here).unlink()
    try:
        with pytest.raises(Broken, match="already holds data"):
            supervisor.up(here)
        assert (here.state / "openbao/data").exists()
        assert (here.state / "postgres/data").exists()
    finally:
        (here.ledger / "checkpoint").unlink()
        folders.write_secret(bootstrap.supervisor_key(here), kept, privileges.survey(here), None)
        supervisor.up(here)
