"""A managed process: ready, not ready, slow to stop."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.builders.sockets import own_server
from wellspring.embedded.probes import accepts_connections
from wellspring.errors import Unavailable
from wellspring.runtime.process_identity import is_same_process
from wellspring.runtime.unix_socket import connect_unix_socket, peer_credentials
from wellspring.supervisor.managed_process import (
    ManagedProcess,
    process_uid,
    wait_for_exit,
)


def managed_process(tmp_path: Path, code: str, *, ready: bool = True) -> ManagedProcess:
    return ManagedProcess(
        name="thing",
        service="worker",
        argv=[sys.executable, "-c", code],
        readiness_probe=lambda: ready,
        version="1",
        log_path=tmp_path / "thing.log",
    )


def test_a_process_that_exits_early_is_reported_with_its_last_twenty_lines(tmp_path: Path):
    (tmp_path / "thing.log").write_text("an older run\n")
    process = managed_process(tmp_path, "import sys; [print('line', n) for n in range(30)]; sys.exit(3)", ready=False)
    process.start(process.argv, {})
    with pytest.raises(Unavailable, match="thing exited with code 3") as result:
        process.wait_ready(time.monotonic() + 60)
    lines = result.value.what.splitlines()[1:]
    assert lines == [f"  line {n}" for n in range(10, 30)]


def test_a_process_that_is_never_ready_fails_at_the_deadline(tmp_path: Path):
    process = managed_process(tmp_path, "import time; time.sleep(60)", ready=False)
    process.start(process.argv, {})
    with pytest.raises(Unavailable, match=r"(?s)not ready in time.*no output"):
        process.wait_ready(time.monotonic() + 0.2)
    process.stop()


def test_a_process_that_ignores_the_stop_signal_is_killed(tmp_path: Path):
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    process = managed_process(tmp_path, code)
    process.readiness_probe = lambda: "deaf" in process.log_path.read_text()
    process.start(process.argv, {})
    process.wait_ready(time.monotonic() + 60)
    process.stop(timeout=0.2)
    assert process.process is not None
    assert process.process.returncode == -signal.SIGKILL


def test_stdin_data_arrives_on_standard_input(tmp_path: Path):
    process = managed_process(tmp_path, "import sys; print(sys.stdin.read())")
    process.start(process.argv, {}, b"a credential")
    assert process.process is not None
    process.process.wait()
    assert process.tail_log() == ["a credential"]


def test_a_reused_pid_is_another_process(tmp_path: Path):
    process = managed_process(tmp_path, "import time; time.sleep(60)")
    process.start(process.argv, {})
    server = process.to_server_state()
    assert is_same_process(server)
    assert process_uid(server.pid) == os.geteuid()
    assert not is_same_process(server.model_copy(update={"start_ticks": server.start_ticks + 1}))
    assert not wait_for_exit(server, 0.05)
    process.stop()
    assert wait_for_exit(server, 5)
    assert process_uid(server.pid) is None


def test_a_process_that_was_not_started_has_no_state(tmp_path: Path):
    process = managed_process(tmp_path, "")
    process.stop()
    assert not process.is_alive()
    assert process.tail_log() == []
    with pytest.raises(Unavailable):
        process.to_server_state()


def test_a_foreign_process_on_the_socket_is_never_ready(tmp_path: Path):
    process = managed_process(tmp_path, "import time; time.sleep(60)")
    process.socket = own_server(tmp_path / "s")
    process.readiness_probe = lambda: accepts_connections(process.own_socket())
    process.start(process.argv, {})
    # This test's process has the right uid, and it is not the child.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        assert accepts_connections(process.socket)
        assert not process.readiness_probe()
    process.stop()


@pytest.mark.parametrize("in_child", [False, True])
def test_a_process_or_its_descendant_on_the_socket_is_ready(tmp_path: Path, in_child: bool):
    code = "import os, socket, time\n"
    # The parent waits for its child, which listens.
    code += "if os.fork(): os.wait()\n" if in_child else ""
    code += f"s = socket.socket(socket.AF_UNIX); s.bind({str(tmp_path / 's')!r}); s.listen(); time.sleep(60)"
    process = managed_process(tmp_path, code)
    process.socket = own_server(tmp_path / "s")
    process.readiness_probe = lambda: accepts_connections(process.own_socket())
    process.start(process.argv, {})
    process.wait_ready(time.monotonic() + 60)
    with connect_unix_socket(process.socket, 60) as connection:
        listening_pid = peer_credentials(connection).pid
    assert (listening_pid != process.pid) == in_child
    os.kill(listening_pid, signal.SIGKILL)
    process.stop()


def test_a_process_without_a_socket_names_none(tmp_path: Path):
    with pytest.raises(Unavailable, match="has no socket"):
        managed_process(tmp_path, "").own_socket()
