"""Run code of the project (a dbt project, feature definitions, a model file) in a process that owns nothing.

The process is a child of the server of project code, not of the job that asks for it: it inherits neither memory nor
descriptors of the job, and has another user where root starts the servers. It may read the files that it is given, and
write one folder. What it answers, and what it leaves in its folder, is data of an untrusted author.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Protocol

from wellspring.errors import NotFound, ProjectError, Unavailable, decode_error
from wellspring.runtime.unix_socket import peer_uid

ProjectCodeKind = Literal["dbt", "features", "model"]
SHARE_FOLDER = "share"
"""Not code of the project: the server's user opens what it has written to the job, which then removes it."""
MAX_OUTPUT_BYTES = 64 * 1024 * 1024
_MAX_ERRORS_BYTES = 256 * 1024
_MAX_TEXT = 4000
_CONNECT_TIMEOUT = 60.0


class ProjectCodeFiles(NamedTuple):
    """The files of a process of project code: absolute paths. folder: the only one that it may write.

    readable: besides the system and the installed packages.
    """

    folder: Path
    readable: tuple[Path, ...]


class ProjectCodeRun(NamedTuple):
    """How a process of project code ended. status: None after the timeout; negative for a signal.

    output: what the called function returned. errors: the end of what the process wrote to its standard output and
    error.
    """

    status: int | None
    output: bytes
    errors: bytes


class ProjectCode(Protocol):
    """Runs project code, one call at a time."""

    def open_folder(self, name: str) -> AbstractContextManager[Path]:
        """Create an empty folder that a process of project code can write; it is removed at the end of the block."""
        ...

    def run(
        self, kind: ProjectCodeKind, request: bytes, files: ProjectCodeFiles, *, timeout: float, trace: str = ""
    ) -> ProjectCodeRun:
        """Run the function of a kind with a request. timeout: seconds. trace: what the environment has as TRACEPARENT.

        files: the folder is one of `open_folder`. Raises Unavailable when the server of project code is gone, and
        ProjectError when the code writes more than MAX_OUTPUT_BYTES as its output.
        """
        ...


class ProjectCodeClient:
    """The connection of one job to the server of project code. The code ends with the connection, so with the job.

    server_uid: of the process that listens on the socket. folder: for the folders of `open_folder`. memory_bytes: what
    each process may use; 0 for no limit.
    """

    def __init__(self, path: Path, folder: Path, *, server_uid: int, memory_bytes: int = 0) -> None:
        self._path = path
        self._folder = folder
        self._server_uid = server_uid
        self._memory_bytes = memory_bytes
        self._channel: socket.socket | None = None
        self._lock = threading.Lock()
        self._number = 0

    @contextmanager
    def open_folder(self, name: str) -> Generator[Path]:
        """Create a folder; see `ProjectCode`."""
        self._folder.mkdir(exist_ok=True)
        # mkdtemp sets 0700; the group, which is that of the server's user, comes from the folder above.
        self._folder.chmod(0o2770)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))
        folder.chmod(0o2770)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if folder.exists():
                with suppress(Unavailable):
                    self._run_kind(SHARE_FOLDER, b"", ProjectCodeFiles(folder, ()), timeout=_CONNECT_TIMEOUT)
                shutil.rmtree(folder, ignore_errors=True)

    def run(
        self, kind: ProjectCodeKind, request: bytes, files: ProjectCodeFiles, *, timeout: float, trace: str = ""
    ) -> ProjectCodeRun:
        """Run the function of a kind; see `ProjectCode`."""
        return self._run_kind(kind, request, files, timeout=timeout, trace=trace)

    def close(self) -> None:
        """Close the connection; a process that still runs is killed."""
        channel, self._channel = self._channel, None
        if channel is not None:
            with suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)
            channel.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run_kind(
        self, kind: str, request: bytes, files: ProjectCodeFiles, *, timeout: float, trace: str = ""
    ) -> ProjectCodeRun:
        head = {
            "folder": os.fspath(files.folder),
            "readable": [os.fspath(path) for path in files.readable],
            "trace": trace,
        }
        with self._lock, ExitStack() as stack:
            # Files, not pipes: neither side waits for the other one to read.
            request_file, output, errors = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            request_file.write(json.dumps(head).encode() + b"\n" + request)
            request_file.seek(0)
            self._number += 1
            name = f"{kind}-{self._number}"
            descriptors = [request_file.fileno(), output.fileno(), errors.fileno()]
            try:
                channel = self._find_channel()
                socket.send_fds(channel, [json.dumps({"start": name, "kind": kind}).encode()], descriptors)
                status = _wait_ended(channel, name, timeout)
            except OSError:
                self._drop_channel()
                raise Unavailable("the server of project code ended", fix="run the command again") from None
            if output.seek(0, os.SEEK_END) > MAX_OUTPUT_BYTES:
                raise ProjectError(
                    f"code of the project ({kind}) answered with more than {MAX_OUTPUT_BYTES // 2**20} MB",
                    fix="look for code that does more than define",
                )
            return ProjectCodeRun(status, _read_end(output, MAX_OUTPUT_BYTES), _read_end(errors, _MAX_ERRORS_BYTES))

    def _find_channel(self) -> socket.socket:
        """Connect, unless it is connected. Raises OSError."""
        if self._channel is not None:
            return self._channel
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = channel
        channel.settimeout(_CONNECT_TIMEOUT)
        channel.connect(os.fspath(self._path))
        if peer_uid(channel) != self._server_uid:
            raise ConnectionRefusedError
        if not channel.recv(4096):
            raise ConnectionResetError
        channel.send(json.dumps({"open": "job", "memory_bytes": self._memory_bytes}).encode())
        return channel

    def _drop_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def is_project_code_ready(path: Path) -> bool:
    """Return whether the server of project code answers at its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        channel.settimeout(5)
        try:
            channel.connect(os.fspath(path))
            return bool(channel.recv(4096))
        except OSError:
            return False


def read_project_file(
    project_code: ProjectCode, kind: ProjectCodeKind, path: Path, request: dict[str, str], *, timeout: float
) -> dict[str, Any]:
    """Run a file of definitions, and return what the function of its kind returned as JSON. timeout: seconds.

    path: the file, or the folder of the file, that the process may read. Raises the error that the function returned,
    and ProjectError if the process did not finish or returned something else than a JSON object.
    """
    name = request["path"]
    with project_code.open_folder(kind) as scratch:
        files = ProjectCodeFiles(scratch, (path.absolute(),))
        run = project_code.run(kind, json.dumps(request).encode(), files, timeout=timeout)
    if run.status is None:
        raise ProjectError(f"{name} did not finish within {timeout} s", fix=f"edit {name}")
    if run.status or not run.output:
        raise ProjectError(
            f"{name} ended the process that read it (exit code {run.status})",
            fix=f"edit {name}: it must contain only definitions",
        )
    document = _decode_object(run.output, name)
    if "slug" in document:
        raise _decode_code_error(document)
    return document


def unreadable_answer(name: str) -> ProjectError:
    """Return the error for an answer of project code that does not have the form of its kind."""
    return ProjectError(
        f"{name} made the process that read it answer with something else than definitions",
        fix=f"edit {name}: it must contain only definitions",
    )


def require_plain_files(folder: Path) -> None:
    """Raise ProjectError unless a folder that project code wrote has only folders and files of its own.

    No process of the code runs any more, so what is checked here stays.
    """
    folders = [folder]
    while folders:
        try:
            entries = [*os.scandir(folders.pop())]
            for entry in entries:
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    folders.append(Path(entry.path))
                elif not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
                    raise ProjectError(
                        f"code of the project left a link or a special file, {entry.name!a}",
                        fix="remove the code that makes it",
                    )
        except OSError as exc:
            raise ProjectError(
                f"what code of the project wrote cannot be read ({type(exc).__name__})",
                fix="remove the code that changes the modes of its files",
            ) from None


def _decode_object(content: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise unreadable_answer(name) from None
    if not isinstance(document, dict):
        raise unreadable_answer(name)
    return document


def _decode_code_error(document: dict[str, Any]) -> ProjectError | NotFound | Unavailable:
    """Return the error that code of the project may raise: only of its own kinds, and with short texts."""
    texts = {name: str(document.get(name, ""))[:_MAX_TEXT] for name in ("what", "fix")}
    error = decode_error({"slug": str(document["slug"]), **texts})
    if isinstance(error, ProjectError | NotFound | Unavailable):
        return error
    return ProjectError(texts["what"], fix=texts["fix"])


def _wait_ended(channel: socket.socket, name: str, timeout: float) -> int | None:
    channel.settimeout(timeout)
    try:
        return _receive_end(channel, name)
    except TimeoutError:
        channel.settimeout(None)
        channel.send(json.dumps({"kill": name}).encode())
        _receive_end(channel, name)
        return None


def _receive_end(channel: socket.socket, name: str) -> int:
    while True:
        content = channel.recv(4096)
        if not content:
            raise ConnectionResetError
        message: dict[str, Any] = json.loads(content)
        if message.get("ended") == name:
            return int(message["status"])


def _read_end(file: IO[bytes], limit: int) -> bytes:
    """Return the last bytes of a file."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - limit))
    return file.read(limit)
