"""Gives each project of a machine a range of uids of its own, so that the services of two projects share nothing.

The folder of the machine has one file for each range in use, which names the project's folder. The project's own file
names the range. A range is in use only if both agree: the range of a removed project is given to the next one.
"""

from __future__ import annotations

import fcntl
import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from wellspring.embedded.path_access import SHARED_FILE
from wellspring.errors import Refused, Unavailable
from wellspring.project import FIRST_UIDS, PROJECT_FILE, Project
from wellspring.runtime.privileges import ServicePrivileges, are_uids_mapped
from wellspring.runtime.service_users import (
    SERVICE_SLOTS,
    ServiceUsers,
    read_first_uid,
    uid_range_path,
)
from wellspring.runtime.trusted_folder import (
    FileOwner,
    change_owners,
    create_missing_folders,
    remove_file,
    write_file,
)

MACHINE_FOLDER = Path("/var/lib/wellspring/uid-ranges")
_NOBODY = 65534


def claim_uid_range(
    project: Project, privileges: ServicePrivileges, *, folder: Path = MACHINE_FOLDER
) -> ServicePrivileges:
    """Return the privileges with the users of this project; the first call chooses its range.

    The servers must be stopped: a project whose range belongs to another one (a copy of a folder) gets another range,
    and its files their new owners. Raises Unavailable if every range is in use, or if the folder cannot be written.
    """
    if privileges.separation != "user":
        return privileges
    stored = read_first_uid(uid_range_path(project))
    try:
        with _locked_folder(folder):
            free = (first for first in _candidates(stored) if _try_claim(folder, first, project))
            first_uid = next(free, None)
            if first_uid is None:
                raise Unavailable(
                    f"all {len(FIRST_UIDS)} ranges of uids of this machine are in use ({folder})",
                    fix="run `wellspring clean` in a project that is no longer needed",
                )
            users = ServiceUsers(first_uid)
            if first_uid != stored:
                _change_owners(project, ServiceUsers() if stored is None else ServiceUsers(stored), users)
                owner = privileges._replace(users=users).owner_of(None, group="project")
                write_file(uid_range_path(project), f"{first_uid}\n".encode(), SHARED_FILE, owner)
    except OSError as exc:
        raise Unavailable(
            f"no range of uids can be recorded in {folder} ({exc.strerror})", fix=f"make {folder} writable for root"
        ) from None
    return privileges._replace(users=users)


def release_uid_range(project: Project, *, folder: Path = MACHINE_FOLDER) -> None:
    """Give back the range of a project that is removed."""
    first_uid = read_first_uid(uid_range_path(project))
    path = folder / str(first_uid)
    if first_uid is not None and os.geteuid() == 0 and path.is_file() and _read_holder(path) == str(project.root):
        remove_file(path)


def _candidates(stored: int | None) -> Iterator[int]:
    """Yield the stored range first, then those whose numbers no account of the machine has."""
    if stored is not None:
        yield stored
    accounts = {entry.pw_uid for entry in pwd.getpwall()}
    for first_uid in FIRST_UIDS:
        numbers = ServiceUsers(first_uid).numbers
        if first_uid != stored and not numbers & accounts and are_uids_mapped(numbers):
            yield first_uid


def _try_claim(folder: Path, first_uid: int, project: Project) -> bool:
    path = folder / str(first_uid)
    if path.exists():
        holder = _read_holder(path)
        if holder == str(project.root):
            return True
        if (Path(holder) / PROJECT_FILE).is_file() and read_first_uid(_range_file_of(holder)) == first_uid:
            return False
        remove_file(path)
    write_file(path, f"{project.root}\n".encode(), 0o644, replace=False)
    return True


def _range_file_of(root: str) -> Path:
    return Path(root) / ".wellspring" / "uid-range"


def _read_holder(path: Path) -> str:
    return os.path.realpath(path.read_text(encoding="utf-8", errors="surrogateescape").strip())


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Create the folder of the machine, and keep other projects from claiming a range meanwhile."""
    try:
        create_missing_folders(folder)
    except Refused as error:
        raise Unavailable(f"no range of uids can be recorded in {folder}: {error.what}", fix=error.fix) from None
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _change_owners(project: Project, old: ServiceUsers, new: ServiceUsers) -> None:
    """Give the files of the services to their new users. Only the project's servers could change files meanwhile."""
    uids = {old.uid_of(service): new.uid_of(service) for service in SERVICE_SLOTS}
    gids = {old.gid_of(service): new.gid_of(service) for service in SERVICE_SLOTS}
    gids |= {old.first_uid + slot: new.first_uid + slot for slot in range(FIRST_UIDS.step)}
    # PostgreSQL ran as nobody before projects had ranges of their own.
    _map_owners(project.state_dir / "postgres", {_NOBODY: new.uid_of("postgres")}, {})
    for top in (project.state_dir, project.vendor_dir, project.root / project.witness.folder):
        _map_owners(top, uids, gids)


def _map_owners(top: Path, uids: Mapping[int, int], gids: Mapping[int, int]) -> None:
    """Give each path at and below `top` to the uid and gid to which its own are mapped."""
    change_owners(top, lambda info: FileOwner(uids.get(info.st_uid, info.st_uid), gids.get(info.st_gid, info.st_gid)))
