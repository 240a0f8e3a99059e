"""Create a backup of a running project: copy everything, pause the servers, copy what changed, let them go on.

The pause makes it one state of all stores: what a kill of all processes at that moment would leave. Two stores that
were copied one after the other could contradict each other; these cannot.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from wellspring.backup.backup_folder import BackupFolder
from wellspring.backup.contents import ProjectContents, SavedPath, open_saved
from wellspring.backup.manifest import (
    BackupFileRow,
    BackupFolderRow,
    BackupManifest,
    manifest_digest,
    sign_manifest,
)
from wellspring.backup.master_key import SecretCipher
from wellspring.bootstrap import open_ledger_tree
from wellspring.embedded.control_socket import send_request
from wellspring.embedded.openbao import seal_key_path
from wellspring.embedded.openbao_setup import request_supervisor_key
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.project import Project
from wellspring.records.record import Digest
from wellspring.runtime.crash_point import reach_crash_point
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.process_identity import is_same_process
from wellspring.runtime.process_pause import paused_processes
from wellspring.runtime.run_state import RunState, read_run_state
from wellspring.runtime.simulated_clock import open_clock
from wellspring.runtime.trusted_folder import read_file
from wellspring.trust.ledger.journal_key import read_service_key_lines
from wellspring_verify import notes

_SETTLE_NS = 1_000_000_000
"""A file that was modified so shortly before it was read may be modified again without another time."""


class BackupReport(NamedTuple):
    """What a backup holds. new_bytes: written by this one; the rest was in the folder. digest: of its manifest."""

    id: str
    digest: Digest
    files: int
    total_bytes: int
    new_bytes: int
    paused_ms: int
    log_size: int
    seconds: float


class _Copy(NamedTuple):
    """A file that was copied before the pause. version: as it was then; None if it may have changed unseen."""

    row: BackupFileRow
    version: tuple[int, int, int, int] | None


class _Changed(NamedTuple):
    """A file that was copied in the pause, or that is open and only grows. length: of the open file then."""

    path: SavedPath
    staged: Path | None
    file: BinaryIO | None
    length: int


def create_backup(
    project: Project, folder: Path, *, trace: str = "", progress: Callable[[str], None] = lambda _: None
) -> BackupReport:
    """Write a backup of a running project to a folder outside it, which may hold earlier backups of it.

    Raises Refused for a folder inside the project, Unavailable if the servers are down or the folder cannot be written:
    nothing was backed up then, and the servers run on.
    """
    destination = _require_outside(project, folder)
    running = _require_running(project)
    with BackupFolder(destination).opened_for_writing():
        return _BackupRun(project, BackupFolder(destination), running, progress).run(trace)


class _BackupRun:
    def __init__(
        self, project: Project, folder: BackupFolder, running: RunState, progress: Callable[[str], None]
    ) -> None:
        privileges = detect_privileges(project)
        self._project = project
        self._folder = folder
        self._running = running
        self._progress = progress
        self._uids = frozenset(privileges.users.uids.values()) if privileges.separation == "user" else frozenset[int]()
        self._contents = ProjectContents(project, privileges)
        self._cipher = SecretCipher(read_file(seal_key_path(project)))
        self._copies: dict[Path, _Copy] = {}
        self._former = self._read_former_rows()
        self._new_bytes = 0

    def run(self, trace: str) -> BackupReport:
        started = time.perf_counter()
        backup = f"{open_clock(self._project).now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        request = {"op": "begin_backup", "id": backup, "trace": trace, **self._name_former()}
        intent = str(send_request(self._project, request)["intent"])
        self._crash_point("backup.create:begun")
        # Before the pause, while OpenBao answers.
        key = request_supervisor_key(self._project)
        for path in self._contents.list_paths():
            if not path.is_folder:
                self._copy_unpaused(path)
        self._crash_point("backup.create:copied")
        folders: list[BackupFolderRow] = []
        rows: list[BackupFileRow] = []
        changed: list[_Changed] = []
        with paused_processes(self._running.supervisor.pid, self._uids):
            paused = time.perf_counter()
            moment = open_clock(self._project).now()
            for path in self._contents.list_paths():
                if path.is_folder:
                    folders.append(BackupFolderRow(path=str(path.path), mode=path.info.st_mode & 0o7777))
                elif (copy := self._copies.get(path.path)) is not None and copy.version == path.version:
                    rows.append(copy.row)
                else:
                    changed += self._copy_paused(path)
            self._crash_point("backup.create:paused")
        paused_ms = round((time.perf_counter() - paused) * 1000)
        self._progress(
            f"servers paused for {paused_ms} ms, {len(changed)} of {len(rows) + len(changed)} files copied then"
        )
        rows += [self._store_changed(item) for item in changed]
        manifest = self._describe(backup, intent, moment, paused_ms, folders, rows)
        self._crash_point("backup.create:stored")
        self._folder.write_manifest(backup, sign_manifest(manifest, key))
        self._crash_point("backup.create:written")
        digest = manifest_digest(manifest)
        send_request(
            self._project,
            {
                "op": "end_backup",
                "id": backup,
                "digest": digest,
                "files": str(len(rows)),
                "size": str(manifest.log_size),
            },
        )
        return BackupReport(
            backup, digest, len(rows), sum(row.size for row in rows), self._new_bytes, paused_ms, manifest.log_size,
            time.perf_counter() - started,
        )  # fmt: skip

    def _copy_unpaused(self, path: SavedPath) -> None:
        """Copy a file while it may change; the pause copies it again if it did."""
        former = self._former.get(str(path.path))
        if former is not None and _identity(path) == (former.inode, former.size, former.modified_ns):
            row = former.model_copy(update={"mode": path.info.st_mode & 0o7777})
        else:
            with open_saved(path) as file:
                if file is None:
                    return
                row = self._store(path, file)
        settled = path.info.st_mtime_ns < time.time_ns() - _SETTLE_NS
        self._copies[path.path] = _Copy(row, path.version if settled and row.size == path.info.st_size else None)

    def _copy_paused(self, path: SavedPath) -> Iterable[_Changed]:
        if self._contents.is_appended(path.path):
            return [_Changed(path, None, path.open(), path.info.st_size)]
        with open_saved(path) as file:
            return [] if file is None else [_Changed(path, self._folder.stage_file(file), None, 0)]

    def _store_changed(self, item: _Changed) -> BackupFileRow:
        if item.file is not None:
            with item.file:
                return self._store(item.path, item.file, item.length)
        if item.staged is None:
            raise Unavailable("a copy is missing", fix="run the command again")
        if self._contents.is_secret(item.path.path):
            with item.staged.open("rb") as file:
                row = self._store(item.path, file)
            item.staged.unlink()
            return row
        had = item.staged.stat().st_size
        digest, size = self._folder.put_staged(item.staged)
        self._new_bytes += had
        return _describe_file(item.path, digest, size)

    def _store(self, path: SavedPath, file: BinaryIO, length: int | None = None) -> BackupFileRow:
        if self._contents.is_secret(path.path):
            content = file.read()
            digest, _ = self._folder.put_bytes(self._cipher.encrypt(content, str(path.path)))
            return _describe_file(path, digest, len(content), encrypted=True)
        digest, size = self._folder.put_file(file, length)
        self._new_bytes += size
        return _describe_file(path, digest, size)

    def _describe(
        self,
        backup: str,
        intent: str,
        moment: datetime,
        paused_ms: int,
        folders: list[BackupFolderRow],
        rows: list[BackupFileRow],
    ) -> BackupManifest:
        checkpoint = self._read_checkpoint(rows)
        project = self._project
        return BackupManifest(
            tenant=project.tenant,
            known_since=moment,
            id=backup,
            root=str(project.root),
            root_mode=project.root.stat().st_mode & 0o7777,
            project=project.name,
            origin=checkpoint.origin,
            log_size=checkpoint.size,
            log_root=checkpoint.root.hex(),
            service_keys=tuple(read_service_key_lines(project.state_dir)),
            key_check=self._cipher.check,
            intent=intent,
            paused_ms=paused_ms,
            folders=tuple(folders),
            files=tuple(sorted(rows, key=lambda row: row.path)),
        )

    def _read_checkpoint(self, rows: list[BackupFileRow]) -> notes.CheckpointHead:
        """Read the checkpoint from the copy: the log has grown since."""
        name = str((self._project.ledger_dir / "checkpoint").relative_to(self._project.root))
        row = next((row for row in rows if row.path == name), None)
        if row is None:
            raise Unavailable("the log has no checkpoint yet", fix="run the command again in a moment")
        with self._folder.open_content(row.digest) as file:
            return notes.parse_checkpoint(notes.parse_note(file.read()).text)

    def _read_former_rows(self) -> dict[str, BackupFileRow]:
        """Return the files of the newest backup that did not change for a while before it, by path."""
        try:
            former = self._folder.read_manifest()
        except NotFound:
            return {}
        if former.origin != open_ledger_tree(self._project).read_head().origin:
            raise Refused(
                f"{self._folder.folder} holds backups of another project ({former.root})", fix="name another folder"
            )
        limit = int(former.known_since.timestamp() * 1e9) - _SETTLE_NS
        return {
            row.path: row
            for row in former.files
            if int(row.modified_ns) < limit and not row.encrypted and self._folder.has_content(row.digest)
        }

    def _name_former(self) -> dict[str, str]:
        """Name the newest backup: the supervisor records it as done if its command was killed."""
        try:
            former = self._folder.read_manifest()
        except NotFound:
            return {}
        return {"former": former.id, "former_digest": manifest_digest(former)}

    def _crash_point(self, point: str) -> None:
        reach_crash_point(self._project.crash_at, point)


def _identity(path: SavedPath) -> tuple[str, int, str]:
    return (str(path.info.st_ino), path.info.st_size, str(path.info.st_mtime_ns))


def _describe_file(path: SavedPath, digest: Digest, size: int, *, encrypted: bool = False) -> BackupFileRow:
    inode, _, modified_ns = _identity(path)
    return BackupFileRow(
        path=str(path.path), mode=path.info.st_mode & 0o7777, size=size, digest=digest, inode=inode,
        modified_ns=modified_ns, encrypted=encrypted,
    )  # fmt: skip


def _require_outside(project: Project, folder: Path) -> Path:
    destination = Path(os.path.realpath(folder))
    if destination.is_relative_to(project.root) or project.root.is_relative_to(destination):
        raise Refused(
            f"{folder} lies inside the project, or holds it: whoever loses the project loses the backup",
            fix="name a folder on another disk",
        )
    return destination


def _require_running(project: Project) -> RunState:
    running = read_run_state(project)
    if running is None or not is_same_process(running.supervisor):
        raise Unavailable(f"the servers of {project.root} are not up", fix="run `wellspring up`")
    return running
