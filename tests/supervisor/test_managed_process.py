"""One child: ready, not ready, slow to end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wellspring.errors import Unavailable
from wellspring.project import ServerState
from wellspring.supervisor.managed_process import (
    ManagedProcess,
    is_same_process,
    process_start_time,
    process_uid,
    wait_for_exit,
)


def child(tmp_path: Path, code: str, *, ready: bool = True) -> ManagedProcess:
    return ManagedProcess(
        name="thing",
        service="worker",
        argv=[sys.executable, "-c", code],
        readiness_probe=lambda: ready,
        version="1",
        log_path=tmp_path / "thing.log",
    )


def test_a_child_that_ends_early_is_told_with_its_last_twenty_lines_of_this_start(tmp_path: Path):
    (tmp_path / "thing.log").write_text("an older run\n")
    item = child(tmp_path, "import sys; [print('line', n) for n in range(30)]; sys.exit(3)", ready=False)
    item.start(item.argv, {})
    with pytest.raises(Unavailable, match="thing ended with exit code 3") as result:
        item.wait_ready(time.monotonic() + 10)
    lines = result.value.what.splitlines()[1:]
    assert lines == [f"  line {n}" for n in range(10, 30)]


def test_a_child_that_is_never_ready_is_told_in_time(tmp_path: Path):
    item = child(tmp_path, "import time; time.sleep(60)", ready=False)
    item.start(item.argv, {})
    with pytest.raises(Unavailable, match=r"(?s)not ready in time.*it wrote nothing"):
        item.wait_ready(time.monotonic() + 0.2)
    item.stop()


def test_a_child_that_will_not_end_is_killed(tmp_path: Path):
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    item = child(tmp_path, code)
    item.readiness_probe = lambda: "deaf" in item.log_path.read_text()
    item.start(item.argv, {})
    item.wait_ready(time.monotonic() + 10)
    item.stop(timeout=0.2)
    assert item.process is not None
    assert item.process.returncode == -signal.SIGKILL


def test_what_it_is_given_comes_in_on_its_standard_input(tmp_path: Path):
    item = child(tmp_path, "import sys; print(sys.stdin.read())")
    item.start(item.argv, {}, b"a credential")
    assert item.process is not None
    item.process.wait()
    assert item.tail_log() == ["a credential"]


def test_a_pid_that_was_given_to_another_process_does_not_count(tmp_path: Path):
    item = child(tmp_path, "import time; time.sleep(60)")
    item.start(item.argv, {})
    server = item.to_server_state()
    assert is_same_process(server)
    assert process_uid(server.pid) == os.geteuid()
    assert not is_same_process(server.model_copy(update={"start_ticks": server.start_ticks + 1}))
    assert not wait_for_exit(server, 0.05)
    item.stop()
    assert wait_for_exit(server, 5)
    assert process_uid(server.pid) is None


def test_a_zombie_does_not_live():
    dead = subprocess.Popen(["true"])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    assert process_start_time(dead.pid) is None
    assert not is_same_process(ServerState(pid=dead.pid, start_ticks=0, version=""))
    dead.wait()


def test_a_child_that_was_not_started_is_no_server(tmp_path: Path):
    item = child(tmp_path, "")
    item.stop()
    assert not item.is_alive()
    assert item.tail_log() == []
    with pytest.raises(Unavailable):
        item.to_server_state()
