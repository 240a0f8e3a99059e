from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

from tests.builders.backups import BACKUP_ID, build_manifest, write_backup
from tests.builders.journal_keys import journal_key
from wellspring.backup.backup_folder import CONTENT_FOLDER, STAGING_FOLDER, BackupFolder
from wellspring.backup.manifest import sign_manifest
from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable


def test_equal_contents_are_stored_once(tmp_path: Path):
    folder = BackupFolder(tmp_path / "backups")
    with folder.opened_for_writing():
        first = folder.put_file(io.BytesIO(b"rows"))
        second = folder.put_bytes(b"rows")
        part = folder.put_file(io.BytesIO(b"rows and more"), 4)
    assert first == second == part
    assert len([path for path in (tmp_path / "backups" / CONTENT_FOLDER).rglob("*") if path.is_file()]) == 1


def test_a_staged_copy_is_stored_under_its_digest(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"changed in the pause")
    folder = BackupFolder(tmp_path / "backups")
    with folder.opened_for_writing(), (tmp_path / "file").open("rb") as source:
        digest, size = folder.put_staged(folder.stage_file(source))
        with folder.open_content(digest) as content:
            assert content.read() == b"changed in the pause"
        assert size == 20


def test_only_the_owner_can_read_a_backup(tmp_path: Path):
    folder = write_backup(tmp_path / "backups", Path("/srv/shop"), {"a": b"1"}).folder
    modes = {path.stat().st_mode & 0o077 for path in (folder, *folder.rglob("*"))}
    assert modes == {0}


def test_a_backup_exists_with_its_manifest(tmp_path: Path):
    folder = BackupFolder(tmp_path / "backups")
    with folder.opened_for_writing():
        folder.put_bytes(b"rows")
        with pytest.raises(NotFound):
            folder.read_manifest()
        folder.write_manifest(BACKUP_ID, sign_manifest(build_manifest(), journal_key("supervisor")))
    assert folder.read_manifest().id == BACKUP_ID
    with pytest.raises(NotFound, match="no backup 'other'"):
        folder.read_manifest("other")


def test_a_manifest_under_another_name_is_corrupted(tmp_path: Path):
    folder = write_backup(tmp_path / "backups", Path("/srv/shop"), {})
    path = folder.folder / "backups" / f"{BACKUP_ID}.json"
    path.rename(path.with_name("20270101T000000Z-00000000.json"))
    with pytest.raises(CorruptedError, match="is the manifest of"):
        folder.read_manifest()


def test_two_backups_do_not_write_at_once(tmp_path: Path):
    folder = BackupFolder(tmp_path / "backups")
    with folder.opened_for_writing(), pytest.raises(Unavailable, match="another backup"):
        with BackupFolder(tmp_path / "backups").opened_for_writing():
            pass


def test_what_an_interrupted_backup_staged_is_removed(tmp_path: Path):
    folder = write_backup(tmp_path / "backups", Path("/srv/shop"), {})
    (folder.folder / STAGING_FOLDER / "left").write_bytes(b"half")
    with folder.opened_for_writing():
        assert list((folder.folder / STAGING_FOLDER).iterdir()) == []


def test_a_folder_with_other_files_is_refused(tmp_path: Path):
    (tmp_path / "letter.txt").write_text("x")
    with pytest.raises(Refused, match="holds other files"):
        with BackupFolder(tmp_path).opened_for_writing():
            pass


def test_a_full_disk_is_unavailable_and_keeps_earlier_backups(tmp_path: Path):
    folder = write_backup(tmp_path / "backups", Path("/srv/shop"), {"a": b"1"})
    with pytest.raises(Unavailable, match="no backup was made"):
        with folder.opened_for_writing():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert folder.read_manifest().id == BACKUP_ID


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="cannot be written"):
        with BackupFolder(tmp_path / "file" / "backups").opened_for_writing():
            pass
