from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders.backups import BACKUP_ID, MASTER_KEY, ORIGIN, write_backup
from wellspring.backup.backup_folder import BackupFolder
from wellspring.backup.contents import RESTORE_FOLDER
from wellspring.backup.restoration import RestoreReport, restore_backup
from wellspring.embedded import uid_ranges
from wellspring.errors import CorruptedError, Refused
from wellspring.project import load_project
from wellspring.runtime.privileges import detect_privileges
from wellspring.trust.ledger.cosigner import CHECKPOINTS_FOLDER, register_log
from wellspring_verify import notes

FILES = {
    ".wellspring/ledger/checkpoint": b"checkpoint", ".wellspring/jobs/queue.sqlite": b"queue", "witness/vkey": b"key",
    "contracts/a.odcs.yaml": b"contract", ".wellspring/postgres/data/PG_VERSION": b"18",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "shop"
    yield root
    if (root / "wellspring.toml").is_file():
        uid_ranges.release_uid_range(load_project(root))


def restore(backups: BackupFolder, root: Path, **options: Any) -> RestoreReport:
    return restore_backup(backups, None, root, options.pop("key", MASTER_KEY), **options)


def test_a_restored_project_has_each_file_and_the_master_key(tmp_path: Path, root: Path):
    report = restore(write_backup(tmp_path / "backups", root, FILES), root)
    assert {path: (root / path).read_bytes() for path in FILES} == FILES
    project = load_project(root)
    assert (project.state_dir / "seal.key").read_bytes() == MASTER_KEY
    assert (project.state_dir / "seal.key").stat().st_mode & 0o777 == 0o600
    assert json.loads((project.state_dir / "restored.json").read_bytes())["backup"] == BACKUP_ID == report.id
    assert not (root / RESTORE_FOLDER).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives services users of their own")
def test_restored_files_belong_to_the_services_that_write_them(tmp_path: Path, root: Path):
    restore(write_backup(tmp_path / "backups", root, FILES), root)
    privileges = detect_privileges(load_project(root))
    owners = {path: (root / path).stat() for path in FILES}
    assert owners[".wellspring/jobs/queue.sqlite"].st_uid == privileges.uid_of("worker")
    assert owners[".wellspring/ledger/checkpoint"].st_uid == privileges.uid_of("sequencer")
    assert owners[".wellspring/ledger/checkpoint"].st_gid == privileges.users.group_id("ledger")
    assert owners[".wellspring/postgres/data/PG_VERSION"].st_uid == privileges.uid_of("postgres")
    assert owners["contracts/a.odcs.yaml"].st_uid == 0
    assert (root / ".wellspring/seal.key").stat().st_uid == privileges.uid_of("keys")


def test_another_path_is_refused(tmp_path: Path, root: Path):
    with pytest.raises(Refused, match="was at /srv/other"):
        restore(write_backup(tmp_path / "backups", Path("/srv/other"), FILES), root)


@pytest.mark.parametrize(("name", "problem"), [("wellspring.toml", "holds a project"), ("letter.txt", "is not empty")])
def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path, root: Path, name: str, problem: str):
    backups = write_backup(tmp_path / "backups", root, FILES)
    root.mkdir()
    (root / name).write_text("mine")
    with pytest.raises(Refused, match=problem):
        restore(backups, root)
    assert (root / name).read_text() == "mine"
    (root / name).unlink()


def test_another_master_key_is_refused(tmp_path: Path, root: Path):
    with pytest.raises(Refused, match="another project's master key"):
        restore(write_backup(tmp_path / "backups", root, FILES), root, key=bytes(32))
    assert not root.exists()


def test_a_changed_file_stops_the_restore_and_leaves_no_project(tmp_path: Path, root: Path):
    backups = write_backup(tmp_path / "backups", root, FILES)
    digest = hashlib.sha256(b"queue").hexdigest()
    (backups.folder / "content" / digest[:2] / digest).write_bytes(b"queuf")
    with pytest.raises(CorruptedError, match=r"jobs/queue\.sqlite of the backup"):
        restore(backups, root)
    assert not (root / "wellspring.toml").exists()


def test_a_restore_that_was_killed_is_repeated(tmp_path: Path, root: Path):
    backups = write_backup(tmp_path / "backups", root, FILES)
    digest = hashlib.sha256(b"queue").hexdigest()
    content = backups.folder / "content" / digest[:2] / digest
    content.rename(tmp_path / "away")
    with pytest.raises(CorruptedError):
        restore(backups, root)
    (root / "left").write_bytes(b"half")
    shutil.move(tmp_path / "away", content)
    restore(backups, root)
    assert load_project(root).name == "shop"
    assert not (root / "left").exists()


def write_witness(folder: Path, size: int, log_root: bytes = bytes(32)) -> Path:
    """Write the folder of a witness that has seen a log of this size."""
    (folder / "logs").mkdir(parents=True)
    (folder / CHECKPOINTS_FOLDER).mkdir()
    key = notes.VerifierKey(ORIGIN, notes.KIND_LOG, bytes(range(32)))
    register_log(folder, str(key))
    text = notes.CheckpointHead(ORIGIN, size, log_root).to_text()
    line = notes.NoteSignature(ORIGIN, key.key_id, bytes(64)).to_line()
    (folder / CHECKPOINTS_FOLDER / key.key_id.hex()).write_bytes(text + b"\n" + line)
    return folder


def test_a_backup_older_than_the_witness_is_refused_unless_the_loss_is_accepted(tmp_path: Path, root: Path):
    backups = write_backup(tmp_path / "backups", root, FILES)
    witness = write_witness(tmp_path / "survived", 10)
    with pytest.raises(Refused, match="3 entries would be lost"):
        restore(backups, root, witness=witness)
    assert restore(backups, root, witness=witness, accept_loss=True).lost_entries == 3
    facts = json.loads((root / ".wellspring/restored.json").read_bytes())["facts"]
    assert (facts["lost_entries"], facts["accepted_loss"]) == (3, True)


def test_a_witness_that_has_seen_the_same_log_loses_nothing(tmp_path: Path, root: Path):
    backups = write_backup(tmp_path / "backups", root, FILES)
    assert restore(backups, root, witness=write_witness(tmp_path / "survived", 7)).lost_entries == 0


def test_a_witness_of_another_log_of_the_same_size_is_corrupted(tmp_path: Path, root: Path):
    backups = write_backup(tmp_path / "backups", root, FILES)
    with pytest.raises(CorruptedError, match="another log"):
        restore(backups, root, witness=write_witness(tmp_path / "survived", 7, bytes([1]) * 32), accept_loss=True)


def test_the_folder_of_no_witness_is_refused(tmp_path: Path, root: Path):
    (tmp_path / "survived").mkdir()
    with pytest.raises(Refused, match="not the folder of a witness"):
        restore(write_backup(tmp_path / "backups", root, FILES), root, witness=tmp_path / "survived")
