"""Read the files of a pack into memory, within limits; anything that is not a regular file is a finding."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from wellspring_verify.manifest import PackCheck

_MAX_FILE_BYTES = 64 * 2**20
_MAX_FILES = 200_000
_MAX_PACK_BYTES = 2**30
"""Limit for all files together: they are kept in memory. Real packs are much smaller."""


def read_files(folder: Path, pack: PackCheck) -> None:
    """Read every file. Report anything that is not a regular file, and stop reading when the pack is too large."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    remaining_bytes = _MAX_PACK_BYTES
    for name, path in _list_files(folder, pack):
        if len(pack.files) >= _MAX_FILES:
            pack.add_finding(name, f"it is one file too many: a pack has at most {_MAX_FILES} files")
            return
        try:
            file_status = path.lstat()
            if not stat.S_ISREG(file_status.st_mode):
                pack.add_finding(name, "it is not a regular file")
            elif file_status.st_size > _MAX_FILE_BYTES:
                pack.add_finding(name, f"it is larger than a file of a pack may be ({_MAX_FILE_BYTES} bytes)")
            elif file_status.st_size > remaining_bytes:
                pack.add_finding(name, f"with it the pack is larger than {_MAX_PACK_BYTES} bytes: the rest is not read")
                return
            else:
                remaining_bytes -= file_status.st_size
                pack.files[name] = path.read_bytes()
        except OSError as exc:
            pack.add_finding(name, f"it cannot be read ({exc.strerror})")


def _list_files(folder: Path, pack: PackCheck) -> Iterator[tuple[str, Path]]:
    def report_unreadable(error: OSError) -> None:
        pack.add_finding(os.path.relpath(error.filename or folder, folder), f"it cannot be listed ({error.strerror})")

    for directory, folders, files in os.walk(folder, onerror=report_unreadable):
        folders.sort()
        directory_path = Path(directory)
        links = [name for name in folders if (directory_path / name).is_symlink()]
        for name in sorted(files + links):
            yield (directory_path / name).relative_to(folder).as_posix(), directory_path / name
        if not files and not folders and directory_path != folder:
            pack.add_finding(
                directory_path.relative_to(folder).as_posix(), "it is an empty folder, which a pack does not have"
            )
