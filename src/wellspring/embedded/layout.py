"""Creates the project's state folders, each owned by one service, and the temporary folder of the sockets."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from wellspring.errors import Refused
from wellspring.project import PROJECT_FILE, Project
from wellspring.runtime.privileges import ServicePrivileges, service_temp_dir
from wellspring.runtime.service_users import SERVICE_SLOTS
from wellspring.runtime.trusted_folder import create_folder, create_missing_folders, remove_tree, write_file
from wellspring.socket_folder import SHARED_RUNTIME, SYSTEM_RUNTIME, name_socket_folder

JOURNAL_OWNERS = {"dispatcher": "worker", "enclave": "enclave", "api": "api", "sequencer": "sequencer"}
"""The services that have one journal, and the user of each."""
# Landlock rules name existing paths only: the API reads editions and views that are written after it starts.
WORKER_FOLDERS = ("lake", "lake/editions", "lake/views", "packs", "models")


def create_folders(project: Project, privileges: ServicePrivileges) -> None:
    """Create the missing folders of `.wellspring/` and set the owner and mode of each; keep existing content."""
    state = project.state_dir
    owned: list[tuple[Path, str | None, int]] = [
        (state, None, 0o755),
        (state / "logs", None, 0o755),
        (state / "openbao", "keys", 0o700),
        (state / "postgres", "postgres", 0o700),
        (state / "valkey", "valkey", 0o700),
        (state / "mlflow", "mlflow", 0o700),
        (project.ledger_dir, "sequencer", 0o755),
        (project.enclave_dir, "enclave", 0o700),
        (project.journals_dir, None, 0o755),
        (project.journals_dir / "supervisor", None, 0o755),
        *((project.journals_dir / name, owner, 0o755) for name, owner in JOURNAL_OWNERS.items()),
        *((project.journals_dir / name, "worker", 0o755) for name in list_worker_journals(project)),
        (project.jobs_dir, "worker", 0o700),
        (project.jobs_dir / "locks", "worker", 0o755),
        *((state / name, "worker", 0o755) for name in WORKER_FOLDERS),
        (state / "tmp", None, 0o755),
        (service_temp_dir(project, "supervisor"), None, 0o700),
        *((service_temp_dir(project, service), service, 0o700) for service in SERVICE_SLOTS if service != "code"),
    ]
    for path, service, mode in owned:
        create_folder(path, mode, privileges.owner_of(service))
    # Jobs create the scratch folders of project code here. The set-group-id bit gives them the group of both users, and
    # the sticky bit prevents that the code moves the folder of another job.
    scratch_owner = privileges.owner_of(None, group=privileges.users.gid_of("code"))
    create_folder(service_temp_dir(project, "code"), 0o3770, scratch_owner)
    for name in ("lineage", "metrics", "incidents", "incidents/history"):
        # Several services write here, each to its own file. The sticky bit prevents removal by another service.
        create_folder(state / name, 0o1775, privileges.owner_of(None, group=privileges.users.telemetry_gid))
    witness = project.root / project.witness.folder
    create_missing_folders(witness.parent)
    create_folder(witness, 0o755, privileges.owner_of("witness"))


def list_worker_journals(project: Project) -> list[str]:
    """List the journals that jobs write: `worker`, `worker-2`, one for each job that may run at a time.

    A journal has one writer. The last one is for acts of persons.
    """
    return ["worker", *(f"worker-{number}" for number in range(2, project.worker.parallel_jobs + 2))]


def ensure_ownership(project: Project) -> None:
    """Create `.wellspring/` if it is missing. Raises Refused if another user owns it or it is not a plain folder."""
    if not (project.root / PROJECT_FILE).is_file():
        raise Refused(
            f"{project.root} is not a project: it has no {PROJECT_FILE}", fix="name a project with --project FOLDER"
        )
    try:
        if not os.path.lexists(project.state_dir):
            create_missing_folders(project.state_dir)
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
    """Create an empty folder for the sockets, and record its path in `.wellspring/`.

    Its parent is /run/wellspring if root may create it, because no other user can create a folder there; else /tmp. A
    folder of that name which another user created in /tmp is left alone: the new one has a name that nobody could know.
    """
    remove_runtime_dir(project)
    runtime = _make_runtime_dir(name_socket_folder(project.root))
    write_public_file(project.runtime_record, f"{runtime}\n".encode(), privileges, None)
    create_folder(project.socket_path("postgres"), 0o750, privileges.owner_of("postgres"))
    if privileges.separation == "user":
        # Writable by the servers that create a socket here, sticky, and searchable by every client.
        privileges.set_owner(runtime, None, 0o1771, group=privileges.users.socket_gid)


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


def write_public_file(path: Path, content: bytes, privileges: ServicePrivileges, service: str | None) -> None:
    """Write a file atomically with mode 0644. service: its owner; None: the current user."""
    write_file(path, content, 0o644, privileges.owner_of(service))
