"""The signed log grows while no command runs, at a fixed cadence when idle, and after an outage of the witness."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.builders import projects
from wellspring.bootstrap import open_ledger_tree
from wellspring.embedded.openbao_setup import issue_secret_id
from wellspring.errors import Unavailable
from wellspring.project import Project
from wellspring.runtime.run_state import read_run_state
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.supervisor.managed_process import wait_for_exit
from wellspring.trust.ledger import journal, keyring
from wellspring.trust.ledger.audit import JournalEvidence, audit_ledger
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.ledger.journal_state import SEEN_FILE, read_states
from wellspring.trust.ledger.remote_sequencer import RemoteSequencer

pytestmark = pytest.mark.live
CADENCE = 3.0
WRITE = """
import json
from wellspring.bootstrap import open_ledger, request_journal_key
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.trust.identity.openbao import login_service
credential = json.loads(sys.argv[2])
socket = find_server_socket(project, "openbao")
with login_service(socket, role_id=credential["role_id"], wrapped_secret_id=credential["wrapped"]) as session:
    key = request_journal_key(session, "worker")
with open_ledger(project, key) as ledger, ledger.step("replay", sys.argv[1]):
    pass
"""


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with projects.running_project(sections=f"[ledger]\ncheckpoint_seconds = {CADENCE}") as project:
        yield project


def wait_until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for a condition, and return how long it took, in seconds; fail after `seconds`."""
    start, pause = time.monotonic(), threading.Event()
    while not condition():
        assert time.monotonic() - start < seconds
        pause.wait(0.02)
    return time.monotonic() - start


def log_index(project: Project) -> LedgerIndex:
    return LedgerIndex(project.ledger_dir / "index.sqlite", open_ledger_tree(project), project.journals_dir)


def write_entry(project: Project, subject: str) -> None:
    """Write one entry into the journal of the worker, without asking for its integration."""
    written = projects.run_as(project, "worker", WRITE, subject, json.dumps(issue_secret_id(project, "worker")))
    assert written.returncode == 0, written.stderr


def run_cli(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wellspring.cli", *words, "--project", str(project.root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def audit(project: Project) -> tuple[str, ...]:
    tree = open_ledger_tree(project)
    keys, checkpoint = keyring.read_matching_checkpoint(tree, project.ledger_dir, project.root / project.witness.folder)
    return audit_ledger(tree, keys, checkpoint=checkpoint, journals=JournalEvidence(project.journals_dir)).findings


def test_an_entry_is_in_the_signed_log_within_a_second(project: Project):
    delays: list[float] = []
    for number in range(5):
        write_entry(project, f"drop:{number}")
        in_log = wait_until(lambda subject=f"drop:{number}": bool(log_index(project).list_entries(subject=subject)), 60)
        delays.append(in_log)
    # Not each of them: other processes share the machine.
    assert statistics.median(delays) < 1.0, delays
    assert audit(project) == ()


def test_an_idle_log_gets_cosigned_checkpoints(project: Project):
    tree = open_ledger_tree(project)
    before = len(log_index(project).list_entries(action="heartbeat"))
    wait_until(lambda: len(log_index(project).list_entries(action="heartbeat")) >= before + 2, 20 * CADENCE)
    keys, checkpoint = keyring.read_matching_checkpoint(tree, project.ledger_dir, project.root / project.witness.folder)
    assert checkpoint is not None
    assert checkpoint == keys.last_cosigned


def test_without_the_witness_lines_wait_and_the_status_says_so(project: Project):
    sequencer = RemoteSequencer(find_server_socket(project, "sequencer"), "owner")
    # Without its socket it is away for as long as the test needs; a killed one the supervisor would start again.
    socket = project.socket_path("witness")
    socket.rename(socket.with_suffix(".away"))
    write_entry(project, "drop:late")
    with pytest.raises(Unavailable, match="the witness does not respond"):
        sequencer.integrate()
    status = sequencer.read_status()
    assert "the witness does not respond" in status.problem
    assert status.pending >= 1
    assert log_index(project).list_entries(subject="drop:late") == []
    socket.with_suffix(".away").rename(socket)
    sequencer.integrate()
    assert log_index(project).list_entries(subject="drop:late")
    assert sequencer.read_status().problem == ""
    log = (project.state_dir / "logs" / "sequencer.log").read_text()
    assert (log.count("the witness does not respond"), log.count("the log grows again")) == (1, 1)
    assert audit(project) == ()


def test_a_killed_sequencer_continues_when_the_supervisor_has_started_it_again(project: Project):
    running = read_run_state(project)
    assert running is not None
    os.kill(running.servers["sequencer"].pid, signal.SIGKILL)
    assert wait_for_exit(running.servers["sequencer"], 60)
    write_entry(project, "drop:between")
    wait_until(lambda: bool(log_index(project).list_entries(subject="drop:between")), 60)
    assert audit(project) == ()


def test_two_lines_cut_from_a_journal_by_hand_are_named(project: Project):
    socket = project.socket_path("witness")
    socket.rename(socket.with_suffix(".away"))
    for number in range(3):
        write_entry(project, f"drop:cut{number}")
    newest = journal.list_segments(project.journals_dir / "worker")[-1].path
    lines = newest.read_bytes().splitlines(keepends=True)
    wait_until(lambda: read_states(project.ledger_dir, SEEN_FILE)["worker"].lines == len(lines), 60)
    newest.write_bytes(b"".join(lines[:-2]))
    socket.with_suffix(".away").rename(socket)
    verified = run_cli(project, "ledger", "verify")
    assert verified.returncode == 20
    assert f"the sequencer has seen {len(lines)}: 2 acknowledged lines are missing" in verified.stdout
    # The log of the other services goes on, and holds the finding.
    wait_until(lambda: bool(log_index(project).list_entries(action="check_journal", phase="failed")), 60)
    problem = RemoteSequencer(find_server_socket(project, "sequencer"), "owner").read_status().problem
    assert problem.startswith("the journal of worker lacks entry")
