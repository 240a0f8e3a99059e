"""Manifests and folders of backups without a project."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.builders.journal_keys import SERVICE_KEY_LINES, journal_key
from wellspring.backup.backup_folder import BackupFolder
from wellspring.backup.manifest import BackupFileRow, BackupFolderRow, BackupManifest, sign_manifest
from wellspring.backup.master_key import compute_key_check

MASTER_KEY = bytes(range(32))
BACKUP_ID = "20261201T100000Z-0a1b2c3d"
ORIGIN = "wellspring.example.com/shop/00000000"
SETTINGS = b'[project]\nname = "shop"\ntenant = "shop"\n[sources.vendor]\nkind = "sftp"\n'
PASSPHRASES = ("five random words of one", "and five words of another")


def build_manifest(**changes: Any) -> BackupManifest:
    """Build a manifest without files."""
    values: dict[str, Any] = {
        "tenant": "shop", "known_since": datetime(2026, 12, 1, 10, tzinfo=UTC), "id": BACKUP_ID, "root": "/srv/shop",
        "root_mode": 0o755, "project": "shop", "origin": ORIGIN, "log_size": 7, "log_root": "00" * 32,
        "service_keys": SERVICE_KEY_LINES, "key_check": compute_key_check(MASTER_KEY), "intent": "supervisor:3",
        "paused_ms": 12, "folders": (), "files": (),
    }  # fmt: skip
    return BackupManifest(**{**values, **changes})


def write_backup(folder: Path, root: Path, files: Mapping[str, bytes], **changes: Any) -> BackupFolder:
    """Write a backup of these files; the project was at `root`."""
    backups = BackupFolder(folder)
    contents = {"wellspring.toml": SETTINGS, **files}
    with backups.opened_for_writing():
        rows: list[BackupFileRow] = []
        for path, content in contents.items():
            digest, size = backups.put_file(io.BytesIO(content))
            rows.append(BackupFileRow(path=path, mode=0o640, size=size, digest=digest, inode="1", modified_ns="1"))
        folders = sorted({str(parent) for path in contents for parent in Path(path).parents} - {"."})
        rows_of_folders = tuple(BackupFolderRow(path=path, mode=0o750) for path in folders)
        manifest = build_manifest(root=str(root), files=tuple(rows), folders=rows_of_folders, **changes)
        backups.write_manifest(manifest.id, sign_manifest(manifest, journal_key("supervisor")))
    return backups
