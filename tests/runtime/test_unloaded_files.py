"""Files in a subfolder, or with a suffix in capitals, are listed; what the glob finds is not."""

from __future__ import annotations

from pathlib import Path

from wellspring.runtime.unloaded_files import list_unloaded_files


def test_files_that_a_glob_does_not_find_are_listed(tmp_path: Path):
    (tmp_path / "team").mkdir()
    for name in ("a.cedar", "b.CEDAR", "team/c.cedar", "notes.txt"):
        (tmp_path / name).touch()
    unloaded = list_unloaded_files(tmp_path, "*.cedar", suffixes={".cedar"})
    assert [path.relative_to(tmp_path).as_posix() for path in unloaded] == ["b.CEDAR", "team/c.cedar"]


def test_a_folder_that_does_not_exist_has_none(tmp_path: Path):
    assert list_unloaded_files(tmp_path / "policies", "*.cedar", suffixes={".cedar"}) == []
