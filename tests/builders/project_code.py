"""The server of project code without a worker: one for all tests of a process, so that its imports are paid once."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from wellspring.runtime.project_code import ProjectCodeClient, ProjectCodeFiles, ProjectCodeKind, ProjectCodeRun

SERVE = """
import os, socket, sys
from wellspring.runtime.fork_server import die_with_parent
from wellspring.worker.project_code_server import serve_project_code
die_with_parent()
serve_project_code(socket.socket(fileno=int(sys.argv[1])), frozenset({os.geteuid()}))
"""


class SharedProjectCode:
    """Project code on the server of this process's tests."""

    def open_folder(self, name: str) -> AbstractContextManager[Path]:
        return open_project_code().open_folder(name)

    def run(
        self, kind: ProjectCodeKind, request: bytes, files: ProjectCodeFiles, *, timeout: float, trace: str = ""
    ) -> ProjectCodeRun:
        return open_project_code().run(kind, request, files, timeout=timeout, trace=trace)


PROJECT_CODE = SharedProjectCode()


@functools.cache
def open_project_code() -> ProjectCodeClient:
    """Open a channel to the server for the whole life of this process."""
    return _build_client("shared", memory_bytes=0)


@contextmanager
def open_channel(memory_bytes: int = 0) -> Iterator[ProjectCodeClient]:
    """Open a channel of its own, as one job has it. memory_bytes: its limit; 0 for none."""
    client = _build_client("own", memory_bytes)
    try:
        yield client
    finally:
        client.close()


def _build_client(name: str, memory_bytes: int) -> ProjectCodeClient:
    server = _start_server()
    return ProjectCodeClient(
        server.folder / "code.sock", server.folder / name, server_uid=os.geteuid(), memory_bytes=memory_bytes
    )


class _Server(NamedTuple):
    """The server, which ends with this process. folder: of its socket and of the folders that its children write."""

    process: subprocess.Popen[bytes]
    folder: Path
    temporary: tempfile.TemporaryDirectory[str]


@functools.cache
def _start_server() -> _Server:
    temporary = tempfile.TemporaryDirectory(prefix="project-code-")
    folder = Path(temporary.name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(os.fspath(folder / "code.sock"))
        listener.listen(64)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", SERVE, str(listener.fileno())], pass_fds=(listener.fileno(),)
        )
    return _Server(process, folder, temporary)
