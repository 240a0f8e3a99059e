"""The record of the folder of sockets names that folder only, and no other path."""

from pathlib import Path

import pytest

from wellspring import socket_folder
from wellspring.socket_folder import name_socket_folder, read_socket_folder


def test_two_projects_have_two_folders():
    assert name_socket_folder(Path("/a")) != name_socket_folder(Path("/b"))


@pytest.mark.parametrize("recorded", ["/tmp/ws-1", "/tmp/ws-1-x7", "/run/wellspring/ws-1"])
def test_recorded_folder_is_used(tmp_path: Path, recorded: str):
    (tmp_path / "record").write_text(recorded + "\n")
    assert read_socket_folder(tmp_path / "record", "ws-1") == Path(recorded)


@pytest.mark.parametrize("recorded", ["/etc", "/tmp/../etc/ws-1", "ws-1", "", "/tmp/another", "/srv/ws-1", "\0"])
def test_any_other_record_is_ignored(tmp_path: Path, recorded: str):
    (tmp_path / "record").write_text(recorded)
    assert read_socket_folder(tmp_path / "record", "ws-1") == Path("/tmp/ws-1")
    assert read_socket_folder(tmp_path / "missing", "ws-1") == Path("/tmp/ws-1")


@pytest.mark.parametrize("parent", ["run", "tmp"])
def test_a_caller_who_may_not_read_the_record_finds_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: str
):
    def deny(*_: object, **__: object) -> str:
        raise PermissionError

    (tmp_path / parent / "ws-1").mkdir(parents=True)
    monkeypatch.setattr(socket_folder, "SYSTEM_RUNTIME", tmp_path / "run")
    monkeypatch.setattr(socket_folder, "SHARED_RUNTIME", tmp_path / "tmp")
    monkeypatch.setattr(Path, "read_text", deny)
    assert read_socket_folder(tmp_path / "record", "ws-1") == tmp_path / parent / "ws-1"
