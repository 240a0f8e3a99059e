"""Find the processes that hold a file lock. The kernel names them: what a lock file says could be somebody's lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from wellspring.runtime.process_identity import process_start_time


class LockHolder(NamedTuple):
    """A living process with a lock on a file. start_ticks: its start time, because the kernel reuses pids."""

    pid: int
    start_ticks: int
    path: Path


def find_lock_holders(paths: Iterable[Path]) -> list[LockHolder]:
    """List the processes that hold a lock (flock) on one of these files, by an open descriptor.

    A child that inherited the descriptor holds the lock too. Processes whose descriptors this one may not read are
    left out.
    """
    files: dict[tuple[int, int], Path] = {}
    for path in paths:
        try:
            info = path.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        files[info.st_dev, info.st_ino] = path
    return [*_find_open_locks(files)] if files else []


def describe_lock_holder(path: Path) -> str:
    """Name the process that locked a file, for an error message: `pid 1234 (program)`; '' if it cannot be found.

    It reads the kernel's list of locks, which a confined process can read too.
    """
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    for fields in map(str.split, lines):
        if "FLOCK" in fields and fields[5].rpartition(":")[2] == str(inode):
            pid = int(fields[4])
            return f"pid {pid} ({_program_name(pid) or 'ended; a child of it holds the lock'})"
    return ""


def _find_open_locks(files: dict[tuple[int, int], Path]) -> Iterator[LockHolder]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        pid = int(folder.name)
        start_ticks = process_start_time(pid)
        try:
            descriptors = sorted(os.listdir(folder / "fd"))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        for descriptor in descriptors:
            path = _locked_file(folder, descriptor, files)
            if path is not None and start_ticks is not None:
                yield LockHolder(pid, start_ticks, path)


def _locked_file(process: Path, descriptor: str, files: dict[tuple[int, int], Path]) -> Path | None:
    try:
        info = (process / "fd" / descriptor).stat()
        path = files.get((info.st_dev, info.st_ino))
        if path is None or "FLOCK" not in (process / "fdinfo" / descriptor).read_text(encoding="ascii"):
            return None
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return None
    return path


def _program_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
