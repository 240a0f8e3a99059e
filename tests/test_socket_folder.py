"""The record of the folder of sockets names that folder only, and no other path."""

from pathlib import Path

import pytest

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
