"""Locks by files of one machine: the kernel releases them when the holder's process ends, also by SIGKILL."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.runtime.files import write_atomically
from wellspring.runtime.lock_holders import describe_lock_holder
from wellspring.settings import SettingsSection
from wellspring.stores.locks.port import Lease, LocksAdapter

if TYPE_CHECKING:
    from wellspring.project import Project

WAIT_SECONDS = 10.0
"""How long `acquire` waits: a killed holder's process may need a moment to end."""
_POLL_SECONDS = 0.02


class FileLocks:
    """One lock file and one file with the last number for each resource. A lease ends with `release` or its process.

    wait_seconds: how long `acquire` waits for another holder.
    """

    lease_seconds = None

    def __init__(self, folder: Path, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._folder = folder
        self._wait_seconds = wait_seconds
        self._descriptors: dict[str, int] = {}

    def acquire(self, resource: str, holder: str) -> Lease:
        if resource in self._descriptors:
            raise Unavailable(f"this process holds {resource} already", fix="release it first")
        path = self._path(resource, "lock")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except FileNotFoundError:
            raise Unavailable("the servers of this project were never started", fix="run `wellspring up`") from None
        except OSError as exc:
            raise Unavailable(f"{path} cannot be opened ({exc.strerror})", fix="correct the folder's owner") from None
        try:
            self._wait_for_lock(descriptor, resource)
            number = self._read_number(resource) + 1
            write_atomically(self._path(resource, "number"), str(number).encode())
        except OSError as exc:
            os.close(descriptor)
            raise Unavailable(
                f"the lock of {resource} cannot be written ({exc.strerror})", fix="free the disk"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptors[resource] = descriptor
        return Lease(resource, holder, number)

    def renew(self, lease: Lease) -> None:
        with self.fence_writes(lease):
            pass

    @contextmanager
    def fence_writes(self, lease: Lease) -> Generator[None]:
        # Nobody else can hold the resource while this process has the lock, however long it was stopped.
        if lease.resource not in self._descriptors or self._read_number(lease.resource) != lease.number:
            raise Refused(
                f"lease {lease.number} of {lease.holder} on {lease.resource} has ended",
                fix="acquire the resource again",
            )
        yield

    def release(self, lease: Lease) -> None:
        if self._read_number(lease.resource) == lease.number:
            descriptor = self._descriptors.pop(lease.resource, None)
            if descriptor is not None:
                os.close(descriptor)

    def close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def _wait_for_lock(self, descriptor: int, resource: str) -> None:
        deadline, pause = time.monotonic() + self._wait_seconds, threading.Event()
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Unavailable(
                        f"another process holds {resource}{_name_holder(self._path(resource, 'lock'))}",
                        fix="wait until it has ended, then try again; `wellspring down` ends one that was left over",
                    ) from None
            pause.wait(_POLL_SECONDS)

    def _read_number(self, resource: str) -> int:
        path = self._path(resource, "number")
        try:
            return int(path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0
        except ValueError:
            raise CorruptedError(f"{path} holds no number", fix="keep the file; restore it from a copy") from None

    def _path(self, resource: str, kind: str) -> Path:
        return self._folder / f"{quote(resource, safe=':')}.{kind}"


def _name_holder(path: Path) -> str:
    holder = describe_lock_holder(path)
    return f": {holder}" if holder else ""


class FileLockSettings(SettingsSection):
    """[locks.options] of the kind `file`: it has none."""


def open_file_locks(_settings: FileLockSettings, project: Project) -> FileLocks:
    """Open the locks in the folder of the project's jobs."""
    return FileLocks(project.jobs_dir / "locks")


FILE = LocksAdapter(FileLockSettings, open_file_locks)
