"""A file has its complete old or its complete new content, its mode does not depend on the umask, and it is durable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wellspring.errors import CorruptedError
from wellspring.runtime.files import (
    create_once,
    fsync_folder,
    open_nameless,
    open_replacement,
    read_plain_file,
    write_atomically,
)


def mode_of(path: Path) -> str:
    return oct(path.stat().st_mode & 0o777)


def test_write_atomically_replaces_the_file_and_leaves_no_temporary_file(tmp_path: Path):
    path = tmp_path / "run.json"
    write_atomically(path, b"old", mode=0o600)
    assert mode_of(path) == "0o600"
    umask = os.umask(0o077)
    try:
        write_atomically(path, b"new")
    finally:
        os.umask(umask)
    assert (path.read_bytes(), mode_of(path)) == (b"new", "0o640")
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_synced_before_the_name_and_the_folder_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    events: list[str] = []
    fsync, replace, link = os.fsync, os.replace, os.link

    def record_fsync(handle: int) -> None:
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", lambda *names: (events.append("name"), replace(*names)))
    monkeypatch.setattr(os, "link", lambda *names: (events.append("name"), link(*names)))
    for write in (write_atomically, create_once):
        events.clear()
        write(tmp_path / write.__name__, b"content")
        assert events == ["file", "name", "folder"]


def test_an_exception_leaves_the_old_content_and_no_temporary_file(tmp_path: Path):
    path = tmp_path / "original"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), open_replacement(path) as file:
        file.write("no bytes")  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_create_once_keeps_the_first_content(tmp_path: Path):
    path = tmp_path / "key"
    create_once(path, b"first", mode=0o600)
    with pytest.raises(FileExistsError):
        create_once(path, b"second")
    assert (path.read_bytes(), mode_of(path)) == (b"first", "0o600")
    assert list(tmp_path.iterdir()) == [path]


def test_fsync_folder_rejects_a_file(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        fsync_folder(tmp_path / "file")
    fsync_folder(tmp_path)


def test_a_nameless_file_gets_its_name_at_the_end_or_leaves_nothing(tmp_path: Path):
    with open_nameless(tmp_path, mode=0o600) as (file, complete):
        file.write(b"content")
        complete(tmp_path / "a")
    assert ((tmp_path / "a").read_bytes(), mode_of(tmp_path / "a")) == (b"content", "0o600")
    with pytest.raises(ZeroDivisionError), open_nameless(tmp_path) as (file, complete):
        file.write(b"content" * (1 // 0))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_only_a_regular_file_is_opened(tmp_path: Path):
    plain, pipe, link = tmp_path / "plain", tmp_path / "pipe", tmp_path / "link"
    plain.write_bytes(b"x")
    os.mkfifo(pipe)
    link.symlink_to(plain)
    assert read_plain_file(plain) == b"x"
    for path in (pipe, link, tmp_path):
        with pytest.raises(CorruptedError, match="is not a regular file"):
            read_plain_file(path)
    with pytest.raises(FileNotFoundError):
        read_plain_file(tmp_path / "missing")
