"""Write files so that after a crash or a power cut a name has its complete old content or its complete new content."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from wellspring.errors import CorruptedError

TEMPORARY_PREFIX = ".tmp-"
"""Names of unfinished files begin with this; a killed process leaves them behind."""


def write_atomically(path: Path, content: bytes, *, mode: int = 0o640) -> None:
    """Write or replace a file: a temporary file in the same folder, fsync, rename, fsync of the folder.

    mode: independent of the umask; until it is set, only this user can read the file.
    """
    with open_replacement(path, mode=mode) as file:
        file.write(content)


@contextmanager
def open_replacement(path: Path, *, mode: int = 0o640) -> Generator[BinaryIO]:
    """Yield a new file that replaces `path` at the end of the block; after an exception `path` is unchanged."""
    with _open_temporary(path.parent) as (file, temporary_path):
        yield file
        _sync_file(file, mode)
        os.replace(temporary_path, path)
    fsync_folder(path.parent)


@contextmanager
def open_nameless(folder: Path, *, mode: int = 0o640) -> Generator[tuple[BinaryIO, Callable[[Path], None]]]:
    """Yield a new file whose name is known only after it is written, and the function that gives it its name.

    That function makes the file durable at a path in the folder, and closes it; without its call nothing is left.
    """
    with _open_temporary(folder) as (file, temporary_path):

        def complete(path: Path) -> None:
            _sync_file(file, mode)
            file.close()
            os.replace(temporary_path, path)
            fsync_folder(folder)

        yield file, complete


def open_plain_file(path: Path, flags: int = os.O_RDONLY, *, follows_link: bool = False) -> int:
    """Open a file that another service may have replaced, and return its descriptor.

    Raises CorruptedError for anything else than a regular file: a link is not followed, unless follows_link, and a pipe
    is not waited for. Raises OSError as `os.open`.
    """
    flags |= os.O_NONBLOCK | os.O_CLOEXEC | (0 if follows_link else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as exc:
        if exc.errno in {errno.ELOOP, errno.ENXIO}:
            raise _not_a_plain_file(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_a_plain_file(path)
    return descriptor


def read_plain_file(path: Path, *, follows_link: bool = False) -> bytes:
    """Read a file whole. Raises as `open_plain_file`."""
    with open(open_plain_file(path, follows_link=follows_link), "rb") as file:
        return file.read()


def _not_a_plain_file(path: Path) -> CorruptedError:
    return CorruptedError(
        f"{path} is not a regular file", fix="find out who put it there; remove it, and restore the file from a copy"
    )


def create_once(path: Path, content: bytes, *, mode: int = 0o640) -> None:
    """Create a file with its whole content. Raises FileExistsError if the name exists: of two writers one succeeds."""
    with _open_temporary(path.parent) as (file, temporary_path):
        file.write(content)
        _sync_file(file, mode)
        # link, unlike rename, fails on an existing name.
        os.link(temporary_path, path)
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable: those created, renamed and removed so far."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _open_temporary(folder: Path) -> Generator[tuple[BinaryIO, Path]]:
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, Path(name)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _sync_file(file: BinaryIO, mode: int) -> None:
    file.flush()
    os.fchmod(file.fileno(), mode)
    os.fsync(file.fileno())
