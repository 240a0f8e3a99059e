"""The setpriv replacement: the program dies with its parent. (Users and capabilities: test_privileges.py.)"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

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


def run_without_landlock(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the shim beside a module that says that the kernel has no Landlock."""
    shutil.copy(SHIM, folder / "setpriv.py")
    reason = "this kernel has no Landlock"
    (folder / "landlock.py").write_text(f"def restrict_files(readable, writable): return {reason!r}\n")
    argv = [sys.executable, "-S", str(folder / "setpriv.py"), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def encode_rules(passwd: str = "") -> str:
    return json.dumps({"readable": ["/usr", "/lib", "/lib64"], "writable": [], "passwd": passwd})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a program the capability")
def test_a_program_that_cannot_be_confined_gets_no_capability(tmp_path: Path):
    result = run_without_landlock(
        tmp_path, "--files", encode_rules(), "65001", "65001", "", "1", "--", "/bin/echo", "ran"
    )
    assert result.returncode != 0
    assert "ran" not in result.stdout
    assert "may read no closed folder" in result.stderr
    result = run_without_landlock(
        tmp_path, "--files", encode_rules(), "65001", "65001", "", "0", "--", "/bin/echo", "ran"
    )
    assert result.stdout == "ran\n"
    assert result.stderr == "not confined: this kernel has no Landlock\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has this rule")
def test_a_private_passwd_file_is_seen_by_the_program_only(tmp_path: Path):
    entry = "postgres:x:64111:64111::/:/usr/sbin/nologin\n"
    (tmp_path / "passwd").write_text(entry)
    machine = Path("/etc/passwd").read_bytes()
    argv = [sys.executable, "-S", str(SHIM), "--files", encode_rules(str(tmp_path / "passwd"))]
    result = subprocess.run([*argv, "--", "cat", "/etc/passwd"], capture_output=True, text=True, check=False)
    if "no private passwd file" in result.stderr:
        pytest.skip("this container lets nobody mount")
    assert Path("/etc/passwd").read_bytes() == machine
    # The rules of this test do not name /etc: Landlock applies to the private file too.
    assert result.returncode != 0
    rules = json.loads(encode_rules(str(tmp_path / "passwd")))
    rules["readable"].append("/etc/passwd")
    argv[-1] = json.dumps(rules)
    result = subprocess.run([*argv, "--", "cat", "/etc/passwd"], capture_output=True, text=True, check=False)
    assert result.stdout == entry
    assert Path("/etc/passwd").read_bytes() == machine


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_without_the_right_to_mount_the_program_does_not_run(tmp_path: Path):
    (tmp_path / "passwd").write_text("")
    argv = ["setpriv", "--reuid", "65001", "--regid", "65001", "--clear-groups", sys.executable, "-S", str(SHIM)]
    argv += ["--files", encode_rules(str(tmp_path / "passwd")), "--", "/bin/echo", "ran"]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("no private passwd file: ")
