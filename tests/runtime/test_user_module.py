"""A project file runs with its current source, leaves no module behind, and its errors have a line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wellspring.errors import ProjectError
from wellspring.runtime import user_module


def write_module(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_a_file_runs_with_its_current_source_each_time(tmp_path: Path):
    assert user_module.run_user_module(write_module(tmp_path, "ANSWER = 1\n")).ANSWER == 1
    # Of the same length and within the same second: bytecode would be taken for current.
    assert user_module.run_user_module(write_module(tmp_path, "ANSWER = 2\n")).ANSWER == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py"]


def test_no_module_stays_imported(tmp_path: Path):
    before = set(sys.modules)
    user_module.run_user_module(
        write_module(tmp_path, "import dataclasses\n@dataclasses.dataclass\nclass Mine:\n    here: int\n")
    )
    assert not [name for name in set(sys.modules) - before if "wellspring" in name]


def test_two_files_of_one_name_are_two_modules(tmp_path: Path):
    first, second = (
        user_module.run_user_module(write_module(tmp_path / name, f"WHERE = '{name}'\n")) for name in ("one", "two")
    )
    assert (first.WHERE, second.WHERE) == ("one", "two")
    assert first.__name__ != second.__name__


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("x = 1\ny = 1 / 0\n", ":2: ZeroDivisionError: division by zero"),
        ("x = 1\ny = = 2\n", ":2: SyntaxError: invalid syntax"),
        ("raise ValueError\n", ":1: ValueError: no message"),
        ("import no_such_module_of_ours\n", ":1: ModuleNotFoundError: No module named 'no_such_module_of_ours'"),
        ("raise ValueError('one line\\nand another')\n", ":1: ValueError: one line"),
        (
            "from pydantic import BaseModel\nclass Settings(BaseModel):\n    limit: int\nSettings(limit='SECRET')\n",
            ":4: Settings.limit: Input should be a valid integer, unable to parse string as an integer",
        ),
    ],
)
def test_an_error_is_reported_with_file_and_line_without_traceback(tmp_path: Path, text: str, output: str):
    path = write_module(tmp_path, text)
    with pytest.raises(ProjectError) as result:
        user_module.run_user_module(path)
    assert result.value.what == f"{path}{output}"
    assert result.value.fix == f"edit {path}"
    assert result.value.__cause__ is None
    assert result.value.__suppress_context__


def test_system_exit_of_a_file_is_not_caught(tmp_path: Path):
    with pytest.raises(SystemExit):
        user_module.run_user_module(write_module(tmp_path, "raise SystemExit(3)\n"))
