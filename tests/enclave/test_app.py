"""The enclave as `wellspring up` starts it: its user, keys and two sockets, isolated from the worker."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from wellspring.data.contracts import contract as contracts
from wellspring.errors import NotFound, Refused
from wellspring.project import Project, load_project
from wellspring.records.clock import SystemClock
from wellspring.runtime.run_state import read_run_state
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.service_users import read_service_users
from wellspring.supervisor import client
from wellspring.trust.ledger import journal
from wellspring.trust.vault import protocol
from wellspring.trust.vault.remote import EnclaveClient

EXAMPLE = Path(__file__).parents[2] / "examples" / "health_plan"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps services apart by user")


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with tempfile.TemporaryDirectory(prefix="ws-test-") as folder:
        root = Path(folder) / "health_plan"
        shutil.copytree(EXAMPLE, root)
        Path(folder).chmod(0o755)
        opened_files = load_project(root)
        client.start_servers(opened_files)
        try:
            yield opened_files
        finally:
            client.stop_servers(opened_files)


def put(project: Project) -> str:
    from examples.health_plan import population

    people = population.members(200, 1)
    population.write_csv(
        population.claims(500, 1, people=people), project.vendor_dir / "outbox" / "medical_claim_1.csv"
    )
    return "medical_claim_1.csv"


def digest(project: Project) -> str:
    expected = contracts.load_all(project.contracts_dir, tenant=project.tenant, known_since=SystemClock().now())
    return next(item.digest for item in expected if item.name == "medical_claim")


@pytest.mark.live
def test_a_drop_leaves_as_tokens_through_the_real_servers(project: Project) -> None:
    name = put(project)
    vault = EnclaveClient(find_server_socket(project, "intake"))
    assert [(file.name, file.state) for file in vault.list_files("clearinghouse")] == [(name, "new")]
    stages: list[str] = []
    first = vault.ingest_file("clearinghouse", name, digest(project), progress=lambda stage, *_: stages.append(stage))
    assert (first.counts.received, first.counts.admitted, first.counts.verdict.outcome) == (500, 500, "pass")
    assert {"fetch", "compare", "validate"} == set(stages)
    assert vault.ingest_file("clearinghouse", name, digest(project))[:2] == first[:2]
    vault.confirm_published(first.drop.id, 0)
    assert vault.list_quarantined() == ()
    with pytest.raises(NotFound):
        vault.replay_quarantined(first.drop.id, digest(project))
    entries = [json.loads(line) for _, line in journal.read_lines(project.journals_dir, "enclave")]
    assert [(item["action"], item["actor"]) for item in entries if item["phase"] == "done"] == [
        (action, "service:enclave") for action in ("accept", "land", "admit", "settle")
    ]


@pytest.mark.live
@needs_root
def test_each_socket_accepts_only_its_users(project: Project) -> None:
    uids = read_service_users(project).uids
    for service, socket_path, let_in in (
        ("worker", "intake", True),
        ("worker", "vault", False),
        ("api", "vault", True),
        ("api", "intake", False),
        ("vendor", "intake", False),
        ("witness", "vault", False),
    ):
        output = _as(project, service, socket_path, {"op": "ping" if socket_path == "intake" else "detokenize"})
        if let_in and socket_path == "intake":
            assert output["kind"] == "done", service
        elif let_in:
            assert "break-glass" in str(output["what"]), service
        else:
            assert f"user {uids[service]} may not connect" in str(output["what"]), service
    entries = [json.loads(line) for _, line in journal.read_lines(project.journals_dir, "enclave")]
    refused = [(item["subject"], item["facts"]["uid"]) for item in entries if item["action"] == "connect"]
    assert ("server:vault", uids["worker"]) in refused
    assert [item["phase"] for item in entries if item["action"] == "detokenize"] == ["refused"]


@pytest.mark.live
@needs_root
def test_the_worker_holds_nothing_of_the_enclave(project: Project) -> None:
    program = (
        "import os, sys, json\n"
        "opened = []\n"
        "for path in json.load(sys.stdin):\n"
        "    try:\n"
        "        (os.listdir if os.path.isdir(path) else open)(path)\n"
        "        opened.append(path)\n"
        "    except OSError:\n"
        "        pass\n"
        "print(json.dumps(opened))\n"
    )
    running = read_run_state(project)
    assert running is not None
    pid = running.servers["enclave"].pid
    closed = [
        str(project.enclave_dir),
        str(project.enclave_dir / "originals"),
        str(project.state_dir / "postgres"),
        str(project.state_dir / "openbao"),
        str(project.state_dir / "seal.key"),
        str(project.state_dir / "supervisor.key"),
        str(project.vendor_dir / "host_key"),
        str(project.root / "witness" / "key"),
        *(f"/proc/{pid}/{name}" for name in ("environ", "mem", "maps", "fd")),
    ]
    uids = read_service_users(project).uids
    command = [
        "setpriv",
        "--reuid",
        str(uids["worker"]),
        "--regid",
        str(uids["worker"]),
        "--clear-groups",
        "--",
    ]
    ended = subprocess.run(
        [*command, sys.executable, "-S", "-c", program],
        input=json.dumps(closed).encode(),
        capture_output=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert json.loads(ended.stdout) == []


@pytest.mark.live
def test_enclave_log_has_no_personal_data(project: Project) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(project.socket_path("intake")))
        connection.sendall(b"\0\0\0\x0b900-12-3456")
        assert protocol.receive_frame(connection, limit=1000) is not None
    assert "900-12-3456" not in (project.state_dir / "logs" / "enclave.log").read_text()


def _as(project: Project, service: str, socket_path: str, request: protocol.FrameMessage) -> protocol.FrameMessage:
    """Send a request to a socket as the user of a service."""
    own_value, their_value = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            users = read_service_users(project)
            os.setgroups(list(users.groups_of(service)))
            os.setgid(users.gid_of(service))
            os.setuid(users.uid_of(service))
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(10)
                connection.connect(str(project.socket_path(socket_path)))
                protocol.send_frame(connection, request)
                os.write(their_value, json.dumps(protocol.receive_frame(connection, limit=1 << 20)).encode())
        finally:
            os._exit(0)
    os.close(their_value)
    with os.fdopen(own_value, "rb") as file:
        output = json.loads(file.read())
    os.waitpid(pid, 0)
    return output


def test_a_process_without_a_credential_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wellspring.toml").write_text((EXAMPLE / "wellspring.toml").read_text())
    for arguments in (b"", b"not json\n", b"{}\n", b"[]\n"):
        ended = subprocess.run(
            [sys.executable, "-m", "wellspring.enclave", "--project", str(tmp_path)],
            input=arguments,
            capture_output=True,
            check=False,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(EXAMPLE.parents[1] / "src")},
        )
        assert ended.returncode == Refused.exit_code
        assert b"no valid credential" in ended.stderr
        assert b"Traceback" not in ended.stderr
