"""A restricted process has threads and files, and no sockets, processes, links or programs."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from wellspring.runtime import seccomp
from wellspring.runtime.seccomp import describe_seccomp

PROBE = """
import ctypes, fcntl, json, mmap, os, resource, signal, socket, sys, threading
from pathlib import Path
from wellspring.runtime.seccomp import restrict_system_calls
names, parent = json.loads(sys.stdin.read()), os.getppid()
own, libc = os.getpid(), ctypes.CDLL(None, use_errno=True)
word, buffer = ctypes.c_long, ctypes.create_string_buffer(64)
reader, writer = os.pipe()
def call(number, *arguments):
    if libc.syscall(word(number), *map(word, arguments)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def run_thread():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
reason = restrict_system_calls()
result = {"reason": reason}
for name, text in names:
    try:
        eval(text)
        result[name] = "allowed"
    except OSError as exc:
        result[name] = type(exc).__name__
    except RuntimeError as exc:
        result[name] = type(exc).__name__
print(json.dumps(result))
"""
ALLOWED = {
    "a thread": "run_thread()",
    "a file": "Path('file').write_text('x')",
    "a rename": "os.rename('file', 'other')",
    "memory": "mmap.mmap(-1, 4096)",
    "a signal to itself": "os.kill(own, 0)",
    "its own limits": "resource.prlimit(own, resource.RLIMIT_CORE, (0, 0))",
    "flags of a descriptor": "fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK)",
    "a name": "call(157, 15, ctypes.addressof(buffer), 0, 0, 0)",
}
DENIED = {
    "a Unix socket": "socket.socket(socket.AF_UNIX)",
    "a TCP socket": "socket.socket(socket.AF_INET)",
    "a netlink socket": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "a pair of sockets": "socket.socketpair()",
    "a message on a descriptor": "call(46, reader, 0, 0)",
    "fork": "os.fork()",
    "the call fork": "call(57)",
    "vfork": "call(58)",
    "clone with the flags of fork": "call(56, signal.SIGCHLD, 0, 0, 0, 0)",
    "clone of a thread in a namespace": "call(56, 0x10000 | 0x20000000, 0, 0, 0, 0)",
    "another program": "os.execv('/bin/true', ['true'])",
    "a session": "os.setsid()",
    "a group": "os.setpgid(0, 0)",
    "a signal to its parent": "os.kill(parent, 0)",
    "a signal to its group": "os.kill(0, 0)",
    "a signal to all": "os.kill(-1, 0)",
    "a signal to a thread of another": "call(234, parent, parent, 0)",
    "a signal by descriptor": "os.pidfd_open(parent)",
    "a queued signal": "call(129, parent, 0, 0)",
    "a signal by the owner of a descriptor": "fcntl.fcntl(reader, fcntl.F_SETOWN, parent)",
    "ptrace": "call(101, 16, parent, 0, 0)",
    "the memory of another": "call(310, parent, 0, 0, 0, 0, 0)",
    "the limits of another": "resource.prlimit(parent, resource.RLIMIT_CORE, (0, 0))",
    "the priority of another": "os.setpriority(os.PRIO_PROCESS, parent, 5)",
    "a life without its server": "call(157, 1, 0, 0, 0, 0)",
    "a dump of its memory": "call(157, 4, 1, 0, 0, 0)",
    "a symbolic link": "os.symlink('other', 'link')",
    "a hard link": "os.link('other', 'link')",
    "a named pipe": "os.mkfifo('pipe')",
    "a file by handle": "call(304, -100, 0, 0)",
    "shared memory": "call(29, 0, 4096, 0o1600)",
    "a file in memory": "os.memfd_create('x')",
    "a namespace": "call(272, 0x10000000)",
    "a mount": "call(165, 0, 0, 0, 0, 0)",
    "a key": "call(250, 0, -3, 0)",
    "bpf": "call(321, 0, 0, 0)",
    "io_uring": "call(425, 1, 0)",
    "perf events": "call(298, 0, 0, 0, 0, 0)",
}
MISSING = {
    "clone3": "call(435, ctypes.addressof(buffer), 64)",
    "a call of a later kernel": "call(460)",
    "a call of the x32 ABI": "call(0x40000000 | 39)",
}


@pytest.mark.skipif(describe_seccomp() != "", reason="this machine has no seccomp")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of the calls are those of x86_64")
def test_only_what_stays_inside_the_process_is_allowed(tmp_path: Path):
    requests = json.dumps([*ALLOWED.items(), *DENIED.items(), *MISSING.items()])
    done = subprocess.run(
        [sys.executable, "-c", PROBE], input=requests, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    result = json.loads(done.stdout)
    assert result.pop("reason") == ""
    assert {name for name in ALLOWED if result[name] != "allowed"} == set()
    assert {name: result[name] for name in DENIED if result[name] != "PermissionError"} == {}
    # ENOSYS, so that the C library takes another way.
    assert {name: result[name] for name in MISSING if result[name] != "OSError"} == {}


def test_a_machine_without_a_filter_is_a_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "no seccomp filter for riscv64" in seccomp.restrict_system_calls()
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(seccomp, "syscall", lambda *_: -1)
    assert "no seccomp" in seccomp.describe_seccomp()


def test_the_numbers_of_an_architecture_are_of_one_call_each():
    for column in (0, 1):
        numbers = [*seccomp.list_call_numbers(column)]
        assert len(numbers) == len(set(numbers))
