"""Which files of a project a backup holds: configuration, everything below `.wellspring/`, the witness and the vendor.

Left out is what each start writes anew, what other programs derive from the configuration, and the master key.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from wellspring.embedded import path_access
from wellspring.embedded.openbao import seal_key_path
from wellspring.embedded.path_access import OWNER, SECRET_FILE, find_access
from wellspring.errors import Refused, escape_text
from wellspring.project import Project
from wellspring.runtime.privileges import ServicePrivileges

UNSAVED_NAMES = frozenset({".git", ".venv", "__pycache__", "node_modules", ".pytest_cache", ".ruff_cache"})
"""Folders of these names hold nothing that the platform reads."""
RESTORE_FOLDER = ".restore"
"""A folder of a project that is being restored; it is removed last."""
_NEW_AT_EACH_START = ("logs", "tmp", "run.json", "runtime-dir", "uid-range", "restored.json", "ended-processes.json")
_APPENDED = ("journals", "openbao/audit.log")


class SavedPath(NamedTuple):
    """A folder or file of a project. path: relative to the project. folder: a descriptor of the folder that it is in.

    The descriptor is open until the next path is taken.
    """

    path: Path
    info: os.stat_result
    folder: int

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.info.st_mode)

    @property
    def version(self) -> tuple[int, int, int, int]:
        """What changes with the content: inode, size, times of modification and of change."""
        info = self.info
        return (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)

    def open(self) -> BinaryIO:
        """Open the file; no link is followed. Raises FileNotFoundError if it was removed meanwhile."""
        descriptor = os.open(
            self.path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.folder
        )
        return os.fdopen(descriptor, "rb")


class ProjectContents:
    """The paths of one project, as a backup sees them."""

    def __init__(self, project: Project, privileges: ServicePrivileges) -> None:
        self._project = project
        self._rows = path_access.list_paths(project)
        self._service_uids = {} if privileges.separation != "user" else privileges.users.uids
        state = project.state_dir.relative_to(project.root)
        self._master_key = seal_key_path(project).relative_to(project.root)
        self._unsaved = {
            self._master_key,
            Path(RESTORE_FOLDER),
            *(state / name for name in _NEW_AT_EACH_START),
            state / "openbao" / "config.hcl",
            *(state / "openbao" / f"{name}.pem" for name in ("certificate", "key", "authority")),
            *(state / "mlflow" / f"{name}.pem" for name in ("ca", "server")),
            *(path.relative_to(project.root) for path in project.mlflow_files),
            state / "postgres" / "data" / "postmaster.pid",
        }
        self._secrets = {row.path for row in self._rows if row.is_file and row.mode == SECRET_FILE}
        self._secrets.add(state / "valkey" / "users.acl")
        self._appended = tuple(state / name for name in _APPENDED)

    def is_secret(self, path: Path) -> bool:
        """Return whether a backup holds a file only encrypted: a private key or a password of the platform."""
        return path in self._secrets

    def is_appended(self, path: Path) -> bool:
        """Return whether a file only grows: its first bytes can be copied after the servers go on."""
        return any(path == top or (top in path.parents and path.suffix == ".log") for top in self._appended)

    def list_paths(self) -> Generator[SavedPath]:
        """Yield each folder, and each plain file in it. Links, pipes and sockets are left out.

        Raises Refused for a file in a folder of a service that does not belong to this service.
        """
        root = self._project.root
        for folder, names, file_names, descriptor in os.fwalk(root, follow_symlinks=False):
            place = Path(folder).relative_to(root)
            names[:] = sorted(name for name in names if name not in UNSAVED_NAMES and place / name not in self._unsaved)
            if place != Path():
                yield SavedPath(place, os.fstat(descriptor), descriptor)
            for name in sorted(file_names):
                path = place / name
                if path in self._unsaved:
                    continue
                self._require_text(path)
                try:
                    info = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(info.st_mode):
                    self._require_own_file(path, info)
                    yield SavedPath(path, info, descriptor)

    def _require_text(self, path: Path) -> None:
        """A manifest is text. The platform gives no file another name."""
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise Refused(
                f"{escape_text(str(self._project.root / path))} has a name that is not UTF-8",
                fix="rename it, or move it out of the project",
            ) from None

    def _require_own_file(self, path: Path, info: os.stat_result) -> None:
        """A hard link that a service laid could be a file that only root can read."""
        row = find_access(self._rows, path)
        if row is None or row.user == OWNER or not self._service_uids:
            return
        if info.st_uid != self._service_uids[row.user]:
            raise Refused(
                f"{self._project.root / path} does not belong to the user of {row.user}",
                fix="find out who put it there, and remove it: a backup holds only what the platform wrote",
            )


@contextmanager
def open_saved(path: SavedPath) -> Generator[BinaryIO | None]:
    """Yield the open file, or None if it was removed since its folder was read."""
    try:
        file = path.open()
    except FileNotFoundError:
        yield None
        return
    with file:
        yield file
