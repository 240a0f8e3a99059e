"""Run code of the project (a dbt project, feature definitions, a model file) in a process that holds no credential.

The process is a child of the server of project code, not of the job that asks for it: it inherits neither memory nor
descriptors of the job. It may read the files that it is given, and write one folder.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Protocol

from wellspring.errors import ProjectError, Unavailable, decode_error

ProjectCodeKind = Literal["dbt", "features", "model"]


class ProjectCodeFiles(NamedTuple):
    """The files of a process of project code: absolute paths. folder: the only one that it may write.

    readable: besides the system and the installed packages.
    """

    folder: Path
    readable: tuple[Path, ...]


class ProjectCodeRun(NamedTuple):
    """How a process of project code ended. status: None after the timeout; negative for a signal.

    output: what the called function returned. errors: what the process wrote to its standard output and error.
    """

    status: int | None
    output: bytes
    errors: bytes


class ProjectCode(Protocol):
    """Runs project code, one call at a time."""

    def run(
        self, kind: ProjectCodeKind, request: bytes, files: ProjectCodeFiles, *, timeout: float, trace: str = ""
    ) -> ProjectCodeRun:
        """Run the function of a kind with a request. timeout: seconds. trace: what the environment has as TRACEPARENT.

        Raises Unavailable when the server of project code is gone.
        """
        ...


class ProjectCodeClient:
    """Asks the server of project code, over the channel that the worker opened for this job."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._number = 0

    def run(
        self, kind: ProjectCodeKind, request: bytes, files: ProjectCodeFiles, *, timeout: float, trace: str = ""
    ) -> ProjectCodeRun:
        """Run the function of a kind; see `ProjectCode`."""
        with self._lock, ExitStack() as stack:
            # Files, not pipes: neither side waits for the other one to read.
            request_file, output, errors = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            request_file.write(request)
            request_file.seek(0)
            self._number += 1
            name = f"{kind}-{self._number}"
            message = {
                "start": name,
                "kind": kind,
                "folder": os.fspath(files.folder),
                "readable": [os.fspath(path) for path in files.readable],
                "trace": trace,
            }
            descriptors = [request_file.fileno(), output.fileno(), errors.fileno()]
            try:
                socket.send_fds(self._channel, [json.dumps(message).encode()], descriptors)
                status = self._wait_ended(name, timeout)
            except OSError:
                raise _server_gone() from None
            return ProjectCodeRun(status, _read_all(output), _read_all(errors))

    def close(self) -> None:
        """Close the channel; a process that still runs is killed."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._channel.close()

    def _wait_ended(self, name: str, timeout: float) -> int | None:
        self._channel.settimeout(timeout)
        try:
            return self._receive_end(name)
        except TimeoutError:
            self._channel.settimeout(None)
            self._channel.send(json.dumps({"kill": name}).encode())
            self._receive_end(name)
            return None

    def _receive_end(self, name: str) -> int:
        while True:
            content = self._channel.recv(4096)
            if not content:
                raise _server_gone()
            message: dict[str, Any] = json.loads(content)
            if message.get("ended") == name:
                return int(message["status"])


def read_project_file(
    project_code: ProjectCode, kind: ProjectCodeKind, path: Path, request: dict[str, str], *, timeout: float
) -> dict[str, Any]:
    """Run a file of definitions, and return what the function of its kind returned as JSON. timeout: seconds.

    path: the file, or the folder of the file, that the process may read. Raises the error that the function returned,
    and ProjectError if the process did not finish or returned nothing.
    """
    with tempfile.TemporaryDirectory(prefix=f"{kind}-") as scratch:
        files = ProjectCodeFiles(Path(scratch), (path.absolute(),))
        run = project_code.run(kind, json.dumps(request).encode(), files, timeout=timeout)
    name = request["path"]
    if run.status is None:
        raise ProjectError(f"{name} did not finish within {timeout} s", fix=f"edit {name}")
    if run.status or not run.output:
        raise ProjectError(
            f"{name} ended the process that read it (exit code {run.status})",
            fix=f"edit {name}: it must contain only definitions",
        )
    document: dict[str, Any] = json.loads(run.output)
    if "slug" in document:
        raise decode_error(document)
    return document


def _read_all(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _server_gone() -> Unavailable:
    return Unavailable("the server of project code ended", fix="run the command again")
