"""Creates the project's state folders, each owned by one service, and the temporary folder of the sockets."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from wellspring.embedded.path_access import (
    OWNER,
    PASSAGE,
    RECORD_SUFFIXES,
    SECRET_FILE,
    SHARED_FILE,
    PathAccess,
    list_paths,
)
from wellspring.errors import Refused
from wellspring.project import PROJECT_FILE, Project
from wellspring.runtime.privileges import ServicePrivileges
from wellspring.runtime.server_sockets import SOCKET_OWNERS
from wellspring.runtime.trusted_folder import (
    UNCHANGED,
    FileOwner,
    close_to_others,
    create_folder,
    create_missing_folders,
    read_file,
    remove_file,
    remove_tree,
    set_path_owner,
    write_file,
)
from wellspring.socket_folder import SHARED_RUNTIME, SYSTEM_RUNTIME, name_socket_folder

# Every user of the machine may connect to these servers, which check the uid of the peer.
_PUBLIC_SOCKET_FOLDERS = ("enclave", "api", "sequencer")
_CLIENTS_OF_SUPERVISOR = {"project_code": "worker"}
"""By folder in which the supervisor binds a socket for a server: the service that connects to it."""


def create_folders(project: Project, privileges: ServicePrivileges) -> None:
    """Create the missing folders of a project and set the owner and mode of each (`path_access`); keep their content.

    What an older version left open to other users is closed. The servers must be stopped.
    """
    rows = list_paths(project)
    was_open = bool(project.state_dir.exists() and stat.S_IMODE(project.state_dir.stat().st_mode) & 0o007)
    create_missing_folders((project.root / project.witness.folder).parent)
    for row in rows:
        if not row.is_file:
            _create_table_folder(project, privileges, row)
    _move_records(project, privileges, rows)
    # The deepest folder first: what it closes keeps its group.
    for row in reversed(rows):
        if row.is_file and os.path.lexists(project.root / row.path):
            set_path_owner(project.root / row.path, row.mode, row_owner(privileges, row))
        elif was_open and row.user != OWNER and row.group != row.user:
            _close_content(project, privileges, row)


def _move_records(project: Project, privileges: ServicePrivileges, rows: list[PathAccess]) -> None:
    """Move the metrics and the lineage of each journal into its folder; older versions had one folder for all."""
    for row in rows:
        if row.path.parent.name not in RECORD_SUFFIXES:
            continue
        name = row.path.name + RECORD_SUFFIXES[row.path.parent.name]
        old_path = project.root / row.path.parent / name
        if os.path.lexists(old_path):
            content = read_file(old_path)
            write_file(project.root / row.path / name, content, SECRET_FILE, row_owner(privileges, row))
            remove_file(old_path)


def create_vendor_dir(project: Project, privileges: ServicePrivileges) -> None:
    """Create the folder of the embedded vendor if it is missing, and set its group and mode."""
    path = project.vendor_dir.relative_to(project.root)
    for row in list_paths(project):
        if row.path == path:
            _create_table_folder(project, privileges, row)


def _create_table_folder(project: Project, privileges: ServicePrivileges, row: PathAccess) -> None:
    path, owner = project.root / row.path, row_owner(privileges, row)
    if owner is not None and path == project.vendor_dir and os.path.lexists(path):
        # Whoever fills the outbox may have created it.
        owner = owner._replace(uid=UNCHANGED)
    create_folder(path, row.mode, owner)


def row_owner(privileges: ServicePrivileges, row: PathAccess) -> FileOwner | None:
    """Return the owner of a path of the table; None if all services share one user."""
    service = None if row.user == OWNER else row.user
    return privileges.owner_of(service, group=None if row.group in (OWNER, row.user) else row.group)


def _close_content(project: Project, privileges: ServicePrivileges, row: PathAccess) -> None:
    """Close what lies in a folder that a group may enter, and give it to that group if it may read it."""
    uid = privileges.uid_of(row.user)
    owner = row_owner(privileges, row) if row.mode & stat.S_ISGID else privileges.owner_of(row.user)
    close_to_others(project.root / row.path, uid, UNCHANGED if owner is None else owner.gid)


def ensure_ownership(project: Project) -> None:
    """Create `.wellspring/` if it is missing. Raises Refused if another user owns it or it is not a plain folder."""
    if not (project.root / PROJECT_FILE).is_file():
        raise Refused(
            f"{project.root} is not a project: it has no {PROJECT_FILE}", fix="name a project with --project FOLDER"
        )
    try:
        if not os.path.lexists(project.state_dir):
            create_missing_folders(project.state_dir, PASSAGE)
    except PermissionError:
        raise Refused(
            f"{project.state_dir} cannot be created",
            fix="run as the owner of the folder, and remove any file of that name",
        ) from None
    info = project.state_dir.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise Refused(
            f"{project.state_dir} is not a folder", fix="remove it: wellspring does not follow a symbolic link there"
        )
    if info.st_uid != os.geteuid():
        raise Refused(
            f"{project.state_dir} belongs to uid {info.st_uid}, but this process runs as uid {os.geteuid()}",
            fix="run as that user, or `wellspring clean` as that user and start again",
        )


def create_runtime_dir(project: Project, privileges: ServicePrivileges) -> None:
    """Create the folder of the sockets with an empty folder for each server, and record its path in `.wellspring/`.

    Its parent is /run/wellspring if root may create it, because no other user can create a folder there; else /tmp. A
    folder of that name which another user created in /tmp is left alone: the new one has a name that nobody could know.
    """
    remove_runtime_dir(project)
    runtime = _make_runtime_dir(name_socket_folder(project.root))
    write_shared_file(project.runtime_record, f"{runtime}\n".encode(), privileges, None, group="project")
    is_separated = privileges.separation == "user"
    for name, service in SOCKET_OWNERS.items():
        clients = _CLIENTS_OF_SUPERVISOR.get(name)
        # A closed folder has the group of its clients, which is that of its owner unless the supervisor binds for it.
        mode = 0o711 if name in _PUBLIC_SOCKET_FOLDERS else 0o710 if service or clients else 0o700
        owner = privileges.owner_of(service, group=clients)
        create_folder(runtime / name, mode if is_separated else 0o700, owner)
    if is_separated:
        # Last: until then nobody can reach a folder that has no owner yet.
        privileges.set_owner(runtime, None, 0o711)


def remove_runtime_dir(project: Project) -> None:
    """Remove the folder of sockets. What another user created at its path, or may write to, is left alone."""
    runtime = project.runtime_dir
    if is_own_folder(runtime):
        remove_tree(runtime)


def is_own_folder(path: Path) -> bool:
    """Return whether a path is a folder, not a link, of this user, which others may not write to."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o002


def _make_runtime_dir(name: str) -> Path:
    if os.geteuid() == 0 and is_own_folder(SYSTEM_RUNTIME.parent):
        # A container may have a /run that is read-only.
        with suppress(OSError):
            create_folder(SYSTEM_RUNTIME, 0o755)
            return _make_folder(SYSTEM_RUNTIME / name)
    with suppress(FileExistsError):
        return _make_folder(SHARED_RUNTIME / name)
    return _make_folder(SHARED_RUNTIME / f"{name}-{secrets.token_hex(8)}")


def _make_folder(path: Path) -> Path:
    if is_own_folder(path):
        # Left by a crash, after which its record was lost.
        remove_tree(path)
    create_folder(path, 0o700, must_be_new=True)
    return path


def write_secret_file(path: Path, content: bytes, privileges: ServicePrivileges, service: str | None) -> None:
    """Write a file atomically with mode 0600 from its creation on. service: its owner; None: the current user."""
    write_file(path, content, 0o600, privileges.owner_of(service))


def write_shared_file(
    path: Path, content: bytes, privileges: ServicePrivileges, service: str | None, *, group: str | None = None
) -> None:
    """Write a file atomically with mode 0640: its group may read it. service, group: as `owner_of`."""
    write_file(path, content, SHARED_FILE, privileges.owner_of(service, group=group))
