"""Who may read and who may write which folder and file of a project: one table, from which they are created.

Everything is closed to other users of the machine. A folder is open to its owner, and to one group where others need
it; what is created in a folder with the setgid bit gets the folder's group.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from wellspring.project import Project
from wellspring.runtime.service_users import SERVICE_SLOTS, list_members

JOURNAL_OWNERS = {"enclave": "enclave", "dispatcher": "worker", "api": "api", "sequencer": "sequencer"}
"""The services that have one journal, and the user of each."""
OWNER = "owner"
"""The user who runs `wellspring up`: root, or whose processes all services are."""
RECORD_SUFFIXES = {"metrics": ".prom", "lineage": ".jsonl"}
"""Folders with a folder for each journal, and how its file there ends."""
PRIVATE, PASSAGE, READ, SHARED, SCRATCH = 0o700, 0o710, 0o750, 0o2750, 0o3770
"""Modes of folders. PASSAGE: its group may use the folders in it by name. SHARED: its group may read what is in it.
SCRATCH: its group may create folders in it, which nobody else moves."""
SECRET_FILE, SHARED_FILE = 0o600, 0o640


class PathAccess(NamedTuple):
    """One folder or file. path: relative to the project. user, group: a service, OWNER, or a further group.

    is_file: a file, which may be missing. Below a folder that is not in the table, the folder above it counts.
    """

    path: Path
    user: str
    group: str
    mode: int
    content: str
    is_file: bool = False

    @property
    def readers(self) -> frozenset[str]:
        """Who may list the folder or read the file, and read what lies in the folder."""
        return frozenset({self.user, *(list_members(self.group) if self.mode & 0o040 else ())})

    @property
    def writers(self) -> frozenset[str]:
        """Who may write the file, or create and remove what lies in the folder."""
        return frozenset({self.user, *(list_members(self.group) if self.mode & 0o020 else ())})

    @property
    def passers(self) -> frozenset[str]:
        """Who may use a folder in it by its name."""
        return self.readers | (list_members(self.group) if self.mode & 0o010 else frozenset())


def list_worker_journals(project: Project) -> list[str]:
    """List the journals that jobs write: `worker`, `worker-2`, one for each job that may run at a time.

    A journal has one writer. The last one is for acts of persons.
    """
    return ["worker", *(f"worker-{number}" for number in range(2, project.worker.parallel_jobs + 2))]


def list_paths(project: Project) -> list[PathAccess]:
    """List the folders and files, each after the folder in which it is."""
    state = project.state_dir.relative_to(project.root)
    journals = {"supervisor": OWNER, **JOURNAL_OWNERS, **dict.fromkeys(list_worker_journals(project), "worker")}
    rows = [
        PathAccess(state, OWNER, "project", PASSAGE, "everything that the platform writes"),
        _file(state / "seal.key", "keys", "the key that unseals OpenBao"),
        _file(state / "supervisor.key", OWNER, "the supervisor's credential"),
        _file(state / "login-path", OWNER, "where users log in at OpenBao"),
        _file(state / "uid-range", OWNER, "the first number of the project's uids", group="project"),
        _file(state / "run.json", OWNER, "which servers run", group="project"),
        _file(state / "runtime-dir", OWNER, "the folder of the sockets", group="project"),
        _file(state / "service-keys", OWNER, "the public keys that certify the journals' keys", group="project"),
        PathAccess(state / "logs", OWNER, OWNER, PRIVATE, "the output of the servers"),
        *(
            PathAccess(state / name, service, service, PRIVATE, content)
            for name, service, content in (
                ("openbao", "keys", "keys and secrets, encrypted"),
                ("postgres", "postgres", "quarantined rows and the enclave's records"),
                ("valkey", "valkey", "online rows"),
                ("mlflow", "mlflow", "the registry of models"),
                ("enclave", "enclave", "the vendors' files, encrypted"),
            )
        ),
        PathAccess(state / "ledger", "sequencer", "ledger", SHARED, "the signed log: tiles, checkpoints, index, packs"),
        PathAccess(state / "journals", OWNER, "ledger", READ, "a folder for each journal"),
        *(
            PathAccess(state / "journals" / name, user, "sequencer", SHARED, f"the journal of {name}")
            for name, user in journals.items()
        ),
    ]
    for kind, content in (("metrics", "Prometheus metrics"), ("lineage", "OpenLineage events")):
        rows.append(PathAccess(state / kind, OWNER, "ledger", PASSAGE, f"a folder for the {content} of each journal"))
        rows += [
            PathAccess(state / kind / name, user, user, PRIVATE, f"{content} of {name}")
            for name, user in journals.items()
        ]
    rows += [
        PathAccess(state / "incidents", OWNER, OWNER, PRIVATE, "incidents that are open or were healed lately"),
        PathAccess(state / "incidents" / "history", OWNER, OWNER, PRIVATE, "the other incidents"),
        PathAccess(state / "jobs", "worker", "worker", PRIVATE, "the queue and the events of jobs"),
        PathAccess(state / "jobs" / "locks", "worker", "worker", PRIVATE, "locks of resources"),
        PathAccess(state / "lake", "worker", "lake", PASSAGE, "the catalog, indexes and what a run leaves"),
        PathAccess(state / "lake" / "warehouse", "worker", "code", SHARED, "the tables, tokenized"),
        # The API's rules name existing paths only: it reads editions and views that are written after it starts.
        PathAccess(state / "lake" / "editions", "worker", "api", SHARED, "editions"),
        PathAccess(state / "lake" / "views", "worker", "api", SHARED, "feature views by digest"),
        PathAccess(state / "packs", "worker", "worker", PRIVATE, "packs of evidence"),
        PathAccess(state / "models", "worker", "api", SHARED, "trained models and releases"),
        PathAccess(state / "changes", "worker", "project", SHARED, "released policies and other changes"),
        PathAccess(state / "tmp", OWNER, "project", PASSAGE, "a folder for the temporary files of each service"),
        PathAccess(state / "tmp" / "supervisor", OWNER, OWNER, PRIVATE, "temporary files of the supervisor"),
        *(
            PathAccess(state / "tmp" / name, name, name, PRIVATE, f"temporary files of {name}")
            for name in SERVICE_SLOTS
            if name != "code"
        ),
        PathAccess(state / "tmp" / "code", OWNER, "code", SCRATCH, "a folder for each run of project code"),
        PathAccess(project.witness.folder, "witness", "worker", SHARED, "the witness's checkpoints and public key"),
        _file(project.witness.folder / "key", "witness", "the witness's signing key"),
    ]
    vendor = project.vendor_dir.relative_to(project.root)
    return [
        *rows,
        PathAccess(vendor, OWNER, "vendor", SHARED, "the embedded vendor's outbox, which its owner fills"),
        _file(vendor / "host_key", "vendor", "the vendor's host key"),
    ]


def find_access(rows: Iterable[PathAccess], path: Path) -> PathAccess | None:
    """Return the row of a path relative to the project, or of the nearest folder above it; None outside the table."""
    by_path = {row.path: row for row in rows}
    return next((by_path[place] for place in (path, *path.parents) if place in by_path), None)


def _file(path: Path, user: str, content: str, *, group: str | None = None) -> PathAccess:
    mode = SECRET_FILE if group is None else SHARED_FILE
    return PathAccess(path, user, group or user, mode, content, is_file=True)
