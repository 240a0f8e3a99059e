from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.builders.backups import write_backup
from tests.builders.journal_keys import SERVICE_KEY_LINES
from wellspring.backup.backup_folder import BackupFolder
from wellspring.backup.verification import verify_backup
from wellspring.errors import CorruptedError
from wellspring_verify.entry_signature import KEY_NAME_PART
from wellspring_verify.notes import KIND_LOG, VerifierKey


@pytest.fixture
def backups(tmp_path: Path) -> BackupFolder:
    return write_backup(tmp_path / "backups", Path("/srv/shop"), {"a": b"1", "b": b"22", "copy-of-b": b"22"})


def content_path(backups: BackupFolder, content: bytes) -> Path:
    digest = hashlib.sha256(content).hexdigest()
    return backups.folder / "content" / digest[:2] / digest


def test_an_intact_backup_has_no_damage(backups: BackupFolder):
    check = verify_backup(backups, trusted_keys=SERVICE_KEY_LINES)
    assert (check.damaged, check.is_signer_trusted) == ((), True)
    assert not verify_backup(backups).is_signer_trusted


def test_a_changed_content_names_each_path(backups: BackupFolder):
    content_path(backups, b"22").write_bytes(b"23")
    assert verify_backup(backups).damaged == ("b", "copy-of-b")


def test_a_missing_content_is_named(backups: BackupFolder):
    content_path(backups, b"1").unlink()
    assert verify_backup(backups).damaged == ("a",)


def test_the_signer_of_another_project_is_corrupted(backups: BackupFolder):
    foreign = str(VerifierKey(f"example.com/other{KEY_NAME_PART}supervisor", KIND_LOG, bytes(32)))
    with pytest.raises(CorruptedError, match="signed by another project"):
        verify_backup(backups, trusted_keys=(foreign,))
