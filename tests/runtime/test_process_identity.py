"""A process is identified by its pid and its start time."""

import os
import subprocess

from wellspring.runtime.process_identity import is_same_process, process_start_time
from wellspring.runtime.run_state import ServerState


def test_a_zombie_is_not_running():
    dead = subprocess.Popen(["true"])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    assert process_start_time(dead.pid) is None
    assert not is_same_process(ServerState(pid=dead.pid, start_ticks=0, version=""))
    dead.wait()


def test_a_process_with_another_start_time_is_another_one():
    ticks = process_start_time(os.getpid())
    assert ticks is not None
    assert is_same_process(ServerState(pid=os.getpid(), start_ticks=ticks, version=""))
    assert not is_same_process(ServerState(pid=os.getpid(), start_ticks=ticks + 1, version=""))
