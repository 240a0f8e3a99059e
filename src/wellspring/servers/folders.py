"""The folders of the house, each with the one service that owns it, and the short-lived folder of its sockets."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from pathlib import Path

from wellspring.errors import Refused
from wellspring.project import FILE, Project
from wellspring.servers.privileges import DOORS, HOUSE, UIDS, Privileges, scratch

SERVICES = ("worker", "enclave", "api")
# A confined process opens only what is there when it starts: the API reads editions and views of a later day.
WORKERS = ("ledger", "lake", "lake/editions", "lake/views", "packs", "models")


def make(project: Project, privileges: Privileges) -> None:
    """Create what is missing of `.wellspring/` and give each folder to its owner; existing content is left alone."""
    state = project.state
    owned: list[tuple[Path, str | None, int]] = [
        (state, None, 0o755),
        (state / "logs", None, 0o755),
        (state / "openbao", "keys", 0o700),
        (state / "postgres", "postgres", 0o700),
        (state / "valkey", "valkey", 0o700),
        (state / "mlflow", "mlflow", 0o700),
        (project.enclave, "enclave", 0o700),
        (project.journals, None, 0o755),
        (project.journals / "supervisor", None, 0o755),
        *((project.journals / service, service, 0o755) for service in SERVICES),
        *((state / name, "worker", 0o755) for name in WORKERS),
        (state / "tmp", None, 0o755),
        (scratch(project, "supervisor"), None, 0o700),
        *((scratch(project, service), service, 0o700) for service in UIDS),
    ]
    for path, service, mode in owned:
        path.mkdir(exist_ok=True)
        privileges.give(path, service, mode)
    for name in ("lineage", "metrics"):
        # Several services write here, each its own file; sticky, so none can remove another's.
        (state / name).mkdir(exist_ok=True)
        privileges.give(state / name, None, 0o1775, group=HOUSE)
    lock = state / "writer.lock"
    lock.touch()
    privileges.give(lock, "worker", 0o644)
    witness = project.root / project.witness.folder
    witness.mkdir(parents=True, exist_ok=True)
    privileges.give(witness, "witness", 0o755)


def own(project: Project) -> None:
    """Refuse a `.wellspring/` that somebody else made, or that is not a plain folder; create it if it is missing."""
    if not (project.root / FILE).is_file():
        raise Refused(f"{project.root} is no project: it holds no {FILE}", fix="name a project with --project FOLDER")
    try:
        project.state.mkdir(exist_ok=True)
    except (PermissionError, FileExistsError):
        raise Refused(
            f"{project.state} cannot be made", fix="run as the owner of the folder, and move what stands in the way"
        ) from None
    found = project.state.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise Refused(f"{project.state} is not a folder", fix="remove it: the house follows no link there")
    if found.st_uid != os.geteuid():
        raise Refused(
            f"{project.state} belongs to uid {found.st_uid}, and you are uid {os.geteuid()}",
            fix="run as that user, or `wellspring clean` as that user and start again",
        )


def make_runtime(project: Project, privileges: Privileges) -> None:
    """Create the folder of sockets anew. Raises Refused if somebody else has made one under its name."""
    sweep_runtime(project)
    runtime = project.runtime
    runtime.mkdir(mode=0o700)
    postgres = project.socket("postgres")
    postgres.mkdir(mode=0o700)
    privileges.give(postgres, "postgres", 0o750)
    if privileges.separation == "user":
        # Sticky and writable by the servers that open a door here, searchable by all who come to one.
        privileges.give(runtime, None, 0o1771, group=DOORS)


def sweep_runtime(project: Project) -> None:
    """Remove the folder of sockets, if it is ours."""
    runtime = project.runtime
    try:
        found = runtime.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o002:
        raise Refused(
            f"{runtime} was made by somebody else (uid {found.st_uid}, mode {stat.filemode(found.st_mode)})",
            fix="find out who made it, and remove it: sockets are only ever opened in a folder of our own",
        )
    shutil.rmtree(runtime)


def write_secret(path: Path, content: bytes, privileges: Privileges, service: str | None) -> None:
    """Write a secret file that only its owner may read (0600), atomically; no instant has it open to others."""
    beside = path.with_name(f".tmp-{secrets.token_hex(8)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    privileges.give(beside, service, 0o600)
    os.replace(beside, path)


def write_public(path: Path, content: bytes, privileges: Privileges, service: str | None) -> None:
    """Write a file that all may read and only its owner may write, atomically."""
    beside = path.with_name(f".tmp-{secrets.token_hex(8)}")
    beside.write_bytes(content)
    privileges.give(beside, service, 0o644)
    os.replace(beside, path)
