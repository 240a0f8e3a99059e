"""Stores on a disk: writes are atomic, durable and tamper-evident."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wellspring.errors import CorruptedError, Unavailable
from wellspring.stores.objects.disk import DiskBlobStore, DiskContentStore


def test_an_object_with_changed_bytes_is_never_returned(tmp_path: Path):
    objects = DiskContentStore(tmp_path)
    digest = objects.put(b"bytes")
    path = tmp_path / digest[:2] / digest[2:]
    path.write_bytes(b"bytez")
    with pytest.raises(CorruptedError, match="no longer hashes"):
        objects.get(digest)


def test_bytes_are_synced_before_the_rename_and_the_folder_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    result: list[str] = []
    fsync, replace, link = os.fsync, os.replace, os.link

    def watched(handle: int) -> None:
        result.append("folder" if Path(f"/proc/self/fd/{handle}").resolve().is_dir() else "bytes")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    monkeypatch.setattr(os, "replace", lambda *names: (result.append("named"), replace(*names)))
    monkeypatch.setattr(os, "link", lambda *names: (result.append("named"), link(*names)))
    paths = DiskBlobStore(tmp_path)
    for act in (paths.replace, paths.write_once):
        result.clear()
        act(act.__name__, b"x")
        assert result == ["bytes", "named", "folder"]


def test_of_two_writers_of_one_name_only_one_succeeds(tmp_path: Path):
    def write(number: int) -> bool:
        try:
            DiskBlobStore(tmp_path).write_once("name", str(number).encode())
        except CorruptedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(24)))
    assert won.count(True) == 1
    assert DiskBlobStore(tmp_path).read("name") == str(won.index(True)).encode()
    assert os.listdir(tmp_path) == ["name"]


def test_temporary_files_of_a_crash_are_not_listed(tmp_path: Path):
    paths = DiskBlobStore(tmp_path)
    paths.replace("a/b", b"x")
    (tmp_path / "a" / ".tmp-left").write_bytes(b"half")
    assert list(paths.list("")) == ["a/b"]


def test_files_get_the_configured_mode_regardless_of_umask(tmp_path: Path):
    before = os.umask(0o077)
    try:
        DiskBlobStore(tmp_path, mode=0o640).replace("open", b"x")
        DiskContentStore(tmp_path, mode=0o600).put(b"closed")
    finally:
        os.umask(before)
    digest = hashlib.sha256(b"closed").hexdigest()
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / digest[:2] / digest[2:]).stat().st_mode & 0o777 == 0o600


def test_an_unreadable_file_is_unavailable_rather_than_not_found(tmp_path: Path):
    # A file in the place of the folder is what not even root can read through.
    (tmp_path / "folder").touch()
    with pytest.raises(Unavailable, match="folder/name cannot be read"):
        DiskBlobStore(tmp_path).read("folder/name")


def test_a_folder_in_the_place_of_a_file_is_corrupted(tmp_path: Path):
    (tmp_path / "name").mkdir()
    with pytest.raises(CorruptedError, match="not a regular file"):
        DiskBlobStore(tmp_path).read("name")
