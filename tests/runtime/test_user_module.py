"""A file of the project is run fresh, leaves nothing behind, and its mistakes are told by their line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wellspring.errors import ProjectError
from wellspring.runtime import user_module


def written(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_a_file_is_run_as_it_stands_each_time(tmp_path: Path):
    assert user_module.run_user_module(written(tmp_path, "ANSWER = 1\n")).ANSWER == 1
    # Of the same length and within the same second: bytecode would be taken for current.
    assert user_module.run_user_module(written(tmp_path, "ANSWER = 2\n")).ANSWER == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py"]


def test_nothing_of_it_stays_imported(tmp_path: Path):
    before = set(sys.modules)
    user_module.run_user_module(
        written(tmp_path, "import dataclasses\n@dataclasses.dataclass\nclass Mine:\n    here: int\n")
    )
    assert not [item for item in set(sys.modules) - before if "wellspring" in item]


def test_two_files_of_one_name_are_two_modules(tmp_path: Path):
    item, two = (
        user_module.run_user_module(written(tmp_path / name, f"WHERE = '{name}'\n")) for name in ("one", "two")
    )
    assert (item.WHERE, two.WHERE) == ("one", "two")
    assert item.__name__ != two.__name__


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("x = 1\ny = 1 / 0\n", ":2: ZeroDivisionError: division by zero"),
        ("x = 1\ny = = 2\n", ":2: SyntaxError: invalid syntax"),
        ("raise ValueError\n", ":1: ValueError: no message"),
        ("import no_such_module_of_ours\n", ":1: ModuleNotFoundError: No module named 'no_such_module_of_ours'"),
        ("raise ValueError('one line\\nand another')\n", ":1: ValueError: one line"),
        (
            "from pydantic import BaseModel\nclass Told(BaseModel):\n    here: int\nTold(here='SECRET')\n",
            ":4: Told.here: Input should be a valid integer, unable to parse string as an integer",
        ),
    ],
)
def test_a_mistake_is_told_with_file_and_line_and_without_a_traceback(tmp_path: Path, text: str, output: str):
    path = written(tmp_path, text)
    with pytest.raises(ProjectError) as result:
        user_module.run_user_module(path)
    assert result.value.what == f"{path}{output}"
    assert result.value.fix == f"edit {path}"
    assert result.value.__cause__ is None
    assert result.value.__suppress_context__


def test_a_file_that_ends_the_program_is_no_mistake_to_swallow(tmp_path: Path):
    with pytest.raises(SystemExit):
        user_module.run_user_module(written(tmp_path, "raise SystemExit(3)\n"))
