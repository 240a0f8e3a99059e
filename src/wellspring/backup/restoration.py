"""Restore a backup into an empty folder; the next `wellspring up` starts it and records the restore.

The project gets the path that it had: the signed lists of the lake name data files by their path. `wellspring.toml` is
written last, so that what a killed restore leaves is not a project.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from wellspring.backup.backup_folder import BackupFolder
from wellspring.backup.contents import RESTORE_FOLDER
from wellspring.backup.manifest import BackupFileRow, BackupManifest, manifest_digest
from wellspring.backup.master_key import SecretCipher
from wellspring.backup.surviving_answers import adopt_answers
from wellspring.embedded.layout import row_owner
from wellspring.embedded.openbao import seal_key_path
from wellspring.embedded.path_access import OWNER, PASSAGE, find_access, list_paths
from wellspring.embedded.uid_ranges import claim_uid_range
from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.project import PROJECT_FILE, Project, load_project
from wellspring.runtime.crash_point import reach_crash_point
from wellspring.runtime.privileges import ServicePrivileges, detect_privileges
from wellspring.runtime.trusted_folder import FileOwner
from wellspring.trust.ledger.cosigner import LOGS_FOLDER, last_checkpoint, registered_logs
from wellspring_verify import notes

_CHUNK_BYTES = 1 << 20


class RestoreReport(NamedTuple):
    """What was restored. lost_entries: entries of the log that a surviving witness has seen, and the backup lacks.

    adopted_answers: lines of the API that were taken from journals that survived.
    """

    id: str
    root: str
    files: int
    log_size: int
    lost_entries: int
    adopted_answers: int


def restore_backup(
    folder: BackupFolder,
    backup: str | None,
    root: Path,
    master_key: bytes,
    *,
    witness: Path | None = None,
    journals: Path | None = None,
    accept_loss: bool = False,
    crash_at: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> RestoreReport:
    """Restore a backup, by default the newest, to the path of its project, which must be an empty folder or missing.

    witness: the folder of a witness that survived. If it has seen entries that the backup lacks, the restore is refused
    unless accept_loss. journals: the folder of journals that survived, from which later answers are taken.
    Raises Refused, NotFound, CorruptedError for content that was changed, Unavailable for a full disk: then the folder
    holds no project, and the command can be repeated.
    """
    manifest = folder.read_manifest(backup)
    require_same_path(manifest, root)
    cipher = SecretCipher(master_key)
    if cipher.check != manifest.key_check:
        raise Refused("the two shares are of another project's master key", fix="use the shares of this project")
    lost_entries = count_lost_entries(manifest, witness)
    if lost_entries and not accept_loss:
        raise Refused(
            f"the witness has seen {manifest.log_size + lost_entries:,} entries, and this backup has "
            f"{manifest.log_size:,}: {lost_entries:,} entries would be lost",
            fix="restore a newer backup; or repeat with --accept-loss, which the ledger then records",
        )
    require_empty(root)
    try:
        run = _Restore(folder, manifest, root, cipher, crash_at, progress)
        adopted_answers = run.run(master_key, lost_entries, journals)
    except OSError as exc:
        raise Unavailable(
            f"{root} cannot be written ({exc.strerror}); it holds no project yet",
            fix="free space there, then run the same command again",
        ) from None
    return RestoreReport(manifest.id, str(root), len(manifest.files), manifest.log_size, lost_entries, adopted_answers)


def require_same_path(manifest: BackupManifest, root: Path) -> None:
    """Raise Refused unless the project gets the path that it had."""
    if str(root) != manifest.root:
        raise Refused(
            f"the project of this backup was at {manifest.root}, and its lake names its files by that path",
            fix=f"restore it with --project {manifest.root}; for a drill, move the running project away first",
        )


def require_empty(root: Path) -> None:
    """Raise Refused unless the folder is missing, empty, or what a killed restore left."""
    if root.is_symlink() or (os.path.lexists(root) and not root.is_dir()):
        raise Refused(f"{root} is not a folder", fix="remove it")
    names = set(os.listdir(root)) if root.is_dir() else set[str]()
    if names and RESTORE_FOLDER not in names:
        what = "holds a project" if PROJECT_FILE in names else "is not empty"
        raise Refused(f"{root} {what}: a restore overwrites nothing", fix="move it away, or name an empty folder")


def count_lost_entries(manifest: BackupManifest, witness: Path | None) -> int:
    """Return how many entries a surviving witness has seen beyond the backup's log.

    Raises Refused if the folder is not that of a witness of this log.
    """
    if witness is None:
        return 0
    key = next((key for key in registered_logs(witness) if key.name == manifest.origin), None)
    note = None if key is None else last_checkpoint(witness, key)
    if note is None:
        raise Refused(
            f"{witness} is not the folder of a witness of the log {manifest.origin}",
            fix=f"name the folder that holds {LOGS_FOLDER}/ of this log's witness, or leave the option out",
        )
    head = notes.parse_checkpoint(notes.parse_note(note).text)
    if head.size == manifest.log_size and head.root.hex() != manifest.log_root:
        raise CorruptedError("the witness has seen another log of the same size", fix="stop; keep both folders")
    return max(0, head.size - manifest.log_size)


class _Restore:
    def __init__(
        self,
        folder: BackupFolder,
        manifest: BackupManifest,
        root: Path,
        cipher: SecretCipher,
        crash_at: str | None,
        progress: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._root = root
        self._cipher = cipher
        self._crash_at = crash_at
        self._progress = progress

    def run(self, master_key: bytes, lost_entries: int, journals: Path | None) -> int:
        """Restore everything, and return how many answers were adopted."""
        root = self._root
        self._remove_unfinished()
        settings = self._find_settings()
        marker = root / RESTORE_FOLDER
        # Until everything has its owner, nobody else may enter.
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(root, 0o700)
        marker.mkdir(mode=0o700)
        self._crash_point("backup.restore:begun")
        self._write_file(settings, marker / PROJECT_FILE, None)
        project = load_project(marker).model_copy(update={"root": root})
        project.state_dir.mkdir(mode=PASSAGE)
        privileges = claim_uid_range(project, detect_privileges(project))
        owners = _Owners(project, privileges)
        for row in self._manifest.folders:
            path = root / row.path
            path.mkdir(mode=0o700, exist_ok=True)
            owners.set_folder(path, Path(row.path), row.mode)
        self._progress(f"{len(self._manifest.files):,} files")
        for row in self._manifest.files:
            if row.path != PROJECT_FILE:
                self._write_file(row, root / row.path, owners)
        self._write_bytes(master_key, seal_key_path(project), 0o600, owners, "seal.key")
        adopted_answers = 0 if journals is None else adopt_answers(project.journals_dir, journals)
        restored = {
            "backup": self._manifest.id, "digest": manifest_digest(self._manifest), "intent": self._manifest.intent,
            "facts": {
                "log_size": self._manifest.log_size, "lost_entries": lost_entries, "files": len(self._manifest.files),
                "accepted_loss": lost_entries > 0,
                "adopted_answers": adopted_answers, "principal": "owner",
            },
        }  # fmt: skip
        self._write_bytes(json.dumps(restored).encode(), project.state_dir / "restored.json", 0o600, None, "")
        self._crash_point("backup.restore:copied")
        os.sync()
        os.rename(marker / PROJECT_FILE, root / PROJECT_FILE)
        marker.rmdir()
        os.chmod(root, self._manifest.root_mode)
        os.sync()
        return adopted_answers

    def _find_settings(self) -> BackupFileRow:
        row = next((row for row in self._manifest.files if row.path == PROJECT_FILE), None)
        if row is None:
            raise CorruptedError(f"the backup has no {PROJECT_FILE}", fix="use another backup")
        return row

    def _remove_unfinished(self) -> None:
        """Remove what a killed restore left; `require_empty` has checked that it is nothing else."""
        if self._root.is_dir():
            for path in sorted(self._root.iterdir(), key=lambda path: path.name == RESTORE_FOLDER):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def _write_file(self, row: BackupFileRow, path: Path, owners: _Owners | None) -> None:
        hashed = hashlib.sha256()
        try:
            source = self._folder.open_content(row.digest)
        except FileNotFoundError:
            raise self._damaged(row) from None
        with source, open(path, "xb", opener=_open_new) as target:
            if row.encrypted:
                content = source.read()
                hashed.update(content)
                if hashed.hexdigest() == row.digest:
                    target.write(self._cipher.decrypt(content, row.path))
            else:
                while chunk := source.read(_CHUNK_BYTES):
                    hashed.update(chunk)
                    target.write(chunk)
            if hashed.hexdigest() != row.digest:
                raise self._damaged(row)
            target.flush()
            if owners is not None:
                owners.set_file(target.fileno(), Path(row.path))
            os.fchmod(target.fileno(), row.mode)

    def _write_bytes(self, content: bytes, path: Path, mode: int, owners: _Owners | None, name: str) -> None:
        with open(path, "xb", opener=_open_new) as target:
            target.write(content)
            if owners is not None:
                owners.set_file(target.fileno(), path.parent.relative_to(self._root) / name)
            os.fchmod(target.fileno(), mode)

    def _damaged(self, row: BackupFileRow) -> CorruptedError:
        return CorruptedError(
            f"{row.path} of the backup {self._manifest.id} is missing or was changed",
            fix="run `wellspring backup verify`; restore an earlier backup",
        )

    def _crash_point(self, point: str) -> None:
        reach_crash_point(self._crash_at, point)


class _Owners:
    """Give each restored path to the user whose service writes it, by the table from which the folders are created."""

    def __init__(self, project: Project, privileges: ServicePrivileges) -> None:
        self._privileges = privileges
        self._rows = list_paths(project)

    def set_folder(self, path: Path, name: Path, mode: int) -> None:
        owner = self._owner_of(name)
        if owner is not None:
            os.chown(path, *owner, follow_symlinks=False)
        os.chmod(path, mode)

    def set_file(self, descriptor: int, name: Path) -> None:
        owner = self._owner_of(name)
        if owner is not None:
            os.fchown(descriptor, *owner)

    def _owner_of(self, name: Path) -> FileOwner | None:
        row = find_access(self._rows, name)
        if row is None:
            return None
        if row.path == name or row.mode & stat.S_ISGID:
            return row_owner(self._privileges, row)
        return self._privileges.owner_of(None if row.user == OWNER else row.user)


def _open_new(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
