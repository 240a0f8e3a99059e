"""The enclave as `wellspring up` starts it: own user, own keys, two doors, and what the worker cannot reach."""

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

from wellspring.data import contract as contracts
from wellspring.enclave.__main__ import told
from wellspring.enclave.compose import address
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.project import Project, load
from wellspring.records.clock import SystemClock
from wellspring.servers import privileges, supervisor
from wellspring.servers.privileges import UIDS
from wellspring.trust.ledger import journal
from wellspring.trust.vault import frames
from wellspring.trust.vault.remote import RemoteVault

EXAMPLE = Path(__file__).parents[2] / "examples" / "health_plan"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps services apart by user")


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with tempfile.TemporaryDirectory(prefix="ws-test-") as folder:
        root = Path(folder) / "health_plan"
        shutil.copytree(EXAMPLE, root)
        Path(folder).chmod(0o755)
        opened = load(root)
        supervisor.up(opened)
        try:
            yield opened
        finally:
            supervisor.down(opened)


def put(project: Project) -> str:
    from examples.health_plan import population

    people = population.members(200, 1)
    population.write_csv(population.claims(500, 1, people=people), project.vendor / "outbox" / "medical_claim_1.csv")
    return "medical_claim_1.csv"


def digest(project: Project) -> str:
    known = contracts.load_all(project.contracts, tenant=project.tenant, known_since=SystemClock().now())
    return next(one.digest for one in known if one.name == "medical_claim")


@pytest.mark.live
def test_a_drop_leaves_as_tokens_through_the_real_servers(project: Project) -> None:
    name = put(project)
    vault = RemoteVault(project.socket("intake"))
    assert [(file.name, file.state) for file in vault.listing("clearinghouse")] == [(name, "new")]
    stages: list[str] = []
    first = vault.intake("clearinghouse", name, digest(project), progress=lambda stage, *_: stages.append(stage))
    assert (first.received, first.admitted, first.verdict.outcome) == (500, 500, "pass")
    assert {"fetch", "parse", "judge", "tokenize"} == set(stages)
    assert vault.intake("clearinghouse", name, digest(project)) == first
    vault.settled(first.drop.id, 0)
    assert vault.quarantined() == ()
    with pytest.raises(NotFound):
        vault.replay(first.drop.id, digest(project))
    entries = [json.loads(line) for _, line in journal.read(project.journals, "enclave")]
    assert [(one["action"], one["actor"]) for one in entries if one["phase"] == "done"] == [
        (action, "service:enclave") for action in ("accept", "land", "admit", "settle")
    ]


@pytest.mark.live
@needs_root
def test_each_door_lets_in_only_its_own(project: Project) -> None:
    for service, door, let_in in (
        ("worker", "intake", True),
        ("worker", "vault", False),
        ("api", "vault", True),
        ("api", "intake", False),
        ("vendor", "intake", False),
        ("witness", "vault", False),
    ):
        said = _as(project, service, door, {"op": "ping" if door == "intake" else "reveal"})
        if let_in and door == "intake":
            assert said["kind"] == "done", service
        elif let_in:
            assert "break-glass" in str(said["what"]), service
        else:
            assert f"user {UIDS[service]} may not speak" in str(said["what"]), service
    entries = [json.loads(line) for _, line in journal.read(project.journals, "enclave")]
    refused = [(one["subject"], one["facts"]["uid"]) for one in entries if one["action"] == "connect"]
    assert ("server:vault", UIDS["worker"]) in refused
    assert [one["phase"] for one in entries if one["action"] == "reveal"] == ["refused"]


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
    running = project.running()
    assert running is not None
    pid = running.servers["enclave"].pid
    closed = [
        str(project.enclave),
        str(project.enclave / "originals"),
        str(project.state / "postgres"),
        str(project.state / "openbao"),
        str(project.state / "seal.key"),
        str(project.state / "supervisor.key"),
        str(project.vendor / "host_key"),
        str(project.root / "witness" / "key"),
        *(f"/proc/{pid}/{name}" for name in ("environ", "mem", "maps", "fd")),
    ]
    command = ["setpriv", "--reuid", str(UIDS["worker"]), "--regid", str(UIDS["worker"]), "--clear-groups", "--"]
    ended = subprocess.run(
        [*command, sys.executable, "-S", "-c", program],
        input=json.dumps(closed).encode(),
        capture_output=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert json.loads(ended.stdout) == []


@pytest.mark.live
def test_nothing_of_a_person_stands_in_the_enclaves_log(project: Project) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(project.socket("intake")))
        connection.sendall(b"\0\0\0\x0b900-12-3456")
        assert frames.receive(connection, limit=1000) is not None
    assert "900-12-3456" not in (project.state / "logs" / "enclave.log").read_text()


def _as(project: Project, service: str, door: str, request: frames.Message) -> frames.Message:
    """Ask a door as the user of a service."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(list(privileges.GROUPS[service]))
            os.setgid(UIDS[service])
            os.setuid(UIDS[service])
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(10)
                connection.connect(str(project.socket(door)))
                frames.send(connection, request)
                os.write(theirs, json.dumps(frames.receive(connection, limit=1 << 20)).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as file:
        said = json.loads(file.read())
    os.waitpid(pid, 0)
    return said


def test_a_process_without_a_credential_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wellspring.toml").write_text((EXAMPLE / "wellspring.toml").read_text())
    for given in (b"", b"not json\n", b"{}\n", b"[]\n"):
        ended = subprocess.run(
            [sys.executable, "-m", "wellspring.enclave", "--project", str(tmp_path)],
            input=given,
            capture_output=True,
            check=False,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(EXAMPLE.parents[1] / "src")},
        )
        assert ended.returncode == Refused.exit_code
        assert b"no credential" in ended.stderr
        assert b"Traceback" not in ended.stderr


def test_an_unforeseen_error_is_told_without_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("900-12-3456")
    except ValueError as wrong:
        told(type(wrong), wrong, wrong.__traceback__)
    said = capsys.readouterr().err
    assert "900-12-3456" not in said
    assert said.startswith("unforeseen: ValueError")
    assert "test_compose.py" in said


def test_the_embedded_vendor_stands_where_its_pinned_key_says(tmp_path: Path) -> None:
    toml = (EXAMPLE / "wellspring.toml").read_text()
    (tmp_path / "wellspring.toml").write_text(toml)
    with pytest.raises(Unavailable, match="not up"):
        address(load(tmp_path), "clearinghouse")
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "known_hosts").write_text("[127.0.0.1]:2222 ssh-ed25519 AAAA\n")
    assert address(load(tmp_path), "clearinghouse") == ("127.0.0.1", 2222)
    for written, found in (("sftp.example.com:2022", 2022), ("sftp.example.com", 22)):
        (tmp_path / "wellspring.toml").write_text(toml.replace('"embedded"', f'"{written}"'))
        assert address(load(tmp_path), "clearinghouse") == ("sftp.example.com", found)
