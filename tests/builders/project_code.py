"""The server of project code without a worker: one for all tests of a process, so that its imports are paid once."""

from __future__ import annotations

import functools
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from wellspring.runtime.project_code import ProjectCodeClient, ProjectCodeFiles, ProjectCodeKind, ProjectCodeRun


class SharedProjectCode:
    """Project code on the server of this process's tests."""

    def run(
        self, kind: ProjectCodeKind, request: bytes, files: ProjectCodeFiles, *, timeout: float, trace: str = ""
    ) -> ProjectCodeRun:
        return open_project_code().run(kind, request, files, timeout=timeout, trace=trace)


PROJECT_CODE = SharedProjectCode()


@functools.cache
def open_project_code() -> ProjectCodeClient:
    """Open a channel to the server for the whole life of this process."""
    return _add_channel(memory_bytes=0)


@contextmanager
def open_channel(memory_bytes: int = 0) -> Iterator[ProjectCodeClient]:
    """Open a channel of its own, as one job has it. memory_bytes: its limit; 0 for none."""
    client = _add_channel(memory_bytes)
    try:
        yield client
    finally:
        client.close()


def _add_channel(memory_bytes: int) -> ProjectCodeClient:
    job, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with remote:
        message = json.dumps({"open": "tests", "memory_bytes": memory_bytes}).encode()
        socket.send_fds(_start_server().channel, [message], [remote.fileno()])
    return ProjectCodeClient(job)


class _Server(NamedTuple):
    """The server, which ends with this process."""

    process: subprocess.Popen[bytes]
    channel: socket.socket


@functools.cache
def _start_server() -> _Server:
    local, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with remote:
        command = [sys.executable, "-P", "-m", "wellspring.worker.project_code_server", "--channel"]
        process = subprocess.Popen([*command, str(remote.fileno())], pass_fds=(remote.fileno(),))
    return _Server(process, local)
