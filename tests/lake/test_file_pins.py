from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from wellspring.errors import CorruptedError
from wellspring.lake import file_pins
from wellspring.lake.file_pins import FilePins, PinnedFile, hash_local_file
from wellspring.stores.objects.disk import DiskContentStore


def open_pins(folder: Path) -> FilePins:
    return FilePins(DiskContentStore(folder))


def test_a_list_holds_what_was_added_and_names_the_list_before_it(tmp_path: Path):
    first, second = PinnedFile("/a", 1, "0" * 64), PinnedFile("/b", 2, "1" * 64)
    pins = open_pins(tmp_path)
    digest = pins.write_list([second], pins.write_list([first]))
    assert open_pins(tmp_path).load_files(digest) == {"/a": first, "/b": second}


def test_a_list_that_was_changed_or_removed_is_refused(tmp_path: Path):
    pins = open_pins(tmp_path)
    first = pins.write_list([PinnedFile("/a", 1, "0" * 64)])
    digest = pins.write_list([], first)
    path = tmp_path / first[:2] / first[2:]
    path.write_bytes(path.read_bytes().replace(b"000", b"001"))
    with pytest.raises(CorruptedError):
        open_pins(tmp_path).load_files(digest)
    path.unlink()
    with pytest.raises(CorruptedError, match="is missing"):
        open_pins(tmp_path).load_files(digest)


def test_a_file_is_hashed_once_until_its_inode_size_or_time_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hashed: list[int] = []
    sha256 = hashlib.sha256
    monkeypatch.setattr(file_pins.hashlib, "sha256", lambda: (hashed.append(1), sha256())[1])
    path = tmp_path / "data.parquet"
    path.write_bytes(b"one")
    pinned = PinnedFile(str(path), 3, sha256(b"one").hexdigest())
    assert hash_local_file(str(path)) == hash_local_file(str(path)) == pinned
    assert len(hashed) == 1
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert hash_local_file(str(path)).sha256 == sha256(b"two").hexdigest()


def test_files_that_the_catalog_adds_or_drops_are_refused(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    first, second = (hash_local_file(str(tmp_path / name)) for name in ("a", "b"))
    pins = open_pins(tmp_path / "pins")
    digest = pins.write_list([first])
    pins.check_files(digest, [first.path], "table t of edition e", hash_local_file)
    with pytest.raises(CorruptedError, match="b is not a file of table t of edition e"):
        pins.check_files(digest, [first.path, second.path], "table t of edition e", hash_local_file)
    with pytest.raises(CorruptedError, match="a is pinned by table t of edition e"):
        pins.check_files(digest, [], "table t of edition e", hash_local_file)
