"""The files of a pack are read within limits; links and empty folders are findings."""

from __future__ import annotations

from pathlib import Path

import pytest

from wellspring_verify import pack_files
from wellspring_verify.manifest import PackCheck
from wellspring_verify.pack_files import read_files


def read(folder: Path) -> tuple[dict[str, bytes], list[str]]:
    pack = PackCheck()
    read_files(folder, pack)
    return pack.files, [str(finding) for finding in pack.findings]


def test_files_are_read_by_their_path_in_the_pack(tmp_path: Path):
    (tmp_path / "entries").mkdir()
    (tmp_path / "entries" / "a.json").write_bytes(b"a")
    (tmp_path / "manifest.json").write_bytes(b"m")
    assert read(tmp_path) == ({"entries/a.json": b"a", "manifest.json": b"m"}, [])


def test_links_and_empty_folders_are_findings(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("/etc/hosts")
    files, findings = read(tmp_path)
    assert files == {}
    assert findings == [
        "link: it is not a regular file", "empty: it is an empty folder, which a pack does not have",
    ]  # fmt: skip


def test_a_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pack_files, "_MAX_FILE_BYTES", 2)
    (tmp_path / "a").write_bytes(b"abc")
    assert read(tmp_path)[0] == {}


def test_a_missing_folder_is_an_error(tmp_path: Path):
    with pytest.raises(NotADirectoryError):
        read(tmp_path / "nothing")
