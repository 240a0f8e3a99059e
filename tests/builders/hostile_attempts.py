"""What hostile code of a project tries, with the standard library only: its text is put into files of a project."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PTRACE, _PTRACE_SEIZE, _PROCESS_VM_READV = 101, 0x4206, 310


def run_attempts(targets: dict[str, Any]) -> list[str]:
    """Try everything, and return the names of what succeeded, with the target."""
    succeeded: list[str] = []
    for name, attempt in ATTEMPTS.items():
        for target in list_targets(name, targets):
            try:
                attempt(target)
            except (OSError, sqlite3.Error, subprocess.SubprocessError):
                continue
            succeeded.append(f"{name} {target}")
    return succeeded


def list_targets(name: str, targets: dict[str, Any]) -> list[Any]:
    """Return the targets of one attempt; its parent's number is the process's own knowledge."""
    values: list[Any] = targets[TARGETS[name]]
    return [*values, os.getppid()] if TARGETS[name] == "processes" else values


def connect_unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)


def connect_tcp(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 5):
        pass


def listen_tcp(port: int) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))


def read_file(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def read_memory(pid: int) -> None:
    read_file(f"/proc/{pid}/maps")
    with open(f"/proc/{pid}/mem", "rb"):
        pass


def read_environment(pid: int) -> None:
    read_file(f"/proc/{pid}/environ")


def read_command(pid: int) -> None:
    read_file(f"/proc/{pid}/cmdline")


def call_kernel(number: int, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def trace_process(pid: int) -> None:
    call_kernel(_PTRACE, _PTRACE_SEIZE, pid, 0, 0)


def fork_and_survive(path: str) -> None:
    """Leave a process in a session of its own, which writes a file when its parent is gone."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        Path(path).write_text("alive")
        os._exit(0)
    os.waitpid(pid, 0)


def start_program(path: str) -> None:
    subprocess.run(["/bin/true", path], check=True)


def write_file(path: str) -> None:
    with open(path, "ab"):
        pass


def link_symbolically(path: str) -> None:
    os.symlink(path, "attempt-link")
    os.unlink("attempt-link")


def link_hard(path: str) -> None:
    os.link(path, f"{path}.link")
    os.unlink(f"{path}.link")


def signal_process(pid: int) -> None:
    os.kill(pid, 0)


def signal_descriptor(pid: int) -> None:
    signal.pidfd_send_signal(os.pidfd_open(pid), 0)


def write_index(path: str) -> None:
    with sqlite3.connect(path) as database:
        database.execute("create table if not exists hostile (x)")


def outlive_server(_: int) -> None:
    if ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) != 0:
        raise OSError


ATTEMPTS: dict[str, Callable[[Any], None]] = {
    "Unix socket": connect_unix,
    "TCP connection": connect_tcp,
    "TCP listener": listen_tcp,
    "key": read_file,
    "memory of a process": read_memory,
    "environment of a process": read_environment,
    "command line of a process": read_command,
    "ptrace": trace_process,
    "fork": fork_and_survive,
    "program": start_program,
    "write outside": write_file,
    "symbolic link": link_symbolically,
    "hard link": link_hard,
    "signal": signal_process,
    "signal by descriptor": signal_descriptor,
    "ledger index": write_index,
    "release pointer": write_file,
    "another project": read_file,
    "unnamed lake file": read_file,
    "life without the server": outlive_server,
}
TARGETS: dict[str, str] = {
    "Unix socket": "sockets",
    "TCP connection": "ports",
    "TCP listener": "free_ports",
    "key": "keys",
    "memory of a process": "processes",
    "environment of a process": "processes",
    "command line of a process": "processes",
    "ptrace": "processes",
    "fork": "new_files",
    "program": "new_files",
    "write outside": "new_files",
    "symbolic link": "keys",
    "hard link": "keys",
    "signal": "processes",
    "signal by descriptor": "processes",
    "ledger index": "indexes",
    "release pointer": "pointers",
    "another project": "other_files",
    "unnamed lake file": "lake_files",
    "life without the server": "free_ports",
}
