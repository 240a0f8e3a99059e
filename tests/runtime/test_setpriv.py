"""The setpriv replacement: the program dies with its parent. (Users and capabilities: test_privileges.py.)"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import wellspring.runtime.privileges
from wellspring.runtime.process_identity import process_start_time

SHIM = Path(wellspring.runtime.privileges.__file__).with_name("setpriv.py")


def test_the_program_dies_with_its_parent():
    run = f"[sys.executable, '-S', {str(SHIM)!r}, '--', 'sleep', '60']"
    code = f"import subprocess, sys; child = subprocess.Popen({run}); print(child.pid, flush=True); child.wait()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    pause = threading.Event()
    for _ in range(3000):
        if Path(f"/proc/{child}/comm").read_text().strip() == "sleep":
            break
        pause.wait(0.02)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(3000):
        if process_start_time(child) is None:
            return
        pause.wait(0.02)
    raise AssertionError("the child outlived its parent")


def test_a_missing_program_is_reported():
    argv = [sys.executable, "-S", str(SHIM), "--", "/no/such/program"]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "/no/such/program" in result.stderr or "FileNotFoundError" in result.stderr
