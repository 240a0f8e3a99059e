"""Locks in a folder, for the suite of locks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.builders.leases import OpenLocks
from wellspring.stores.locks.file import FileLocks


@contextmanager
def open_folder(folder: Path) -> Iterator[OpenLocks]:
    def open_locks(project: str) -> FileLocks:
        (folder / project).mkdir(exist_ok=True)
        return FileLocks(folder / project, wait_seconds=0.1)

    yield open_locks


BUILDER = open_folder
