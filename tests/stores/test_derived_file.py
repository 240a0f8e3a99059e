"""A file of derived data opens in every state of the disk, with its data where they are valid."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from wellspring.stores.derived_file import open_derived_file

SCHEMA = "create table if not exists items (name text); pragma user_version = 3;"


def test_data_are_kept_and_the_folder_is_created(tmp_path: Path):
    path = tmp_path / "new" / "items.sqlite"
    for count in (0, 1):
        with closing(open_derived_file(path, SCHEMA, format_version=3)) as file, file:
            assert file.execute("select count(*) from items").fetchone() == (count,)
            file.execute("insert into items values ('a')")


@pytest.mark.parametrize("damage", ["format", "bytes"])
def test_a_file_of_another_format_or_a_damaged_one_is_empty_again(tmp_path: Path, damage: str):
    path = tmp_path / "items.sqlite"
    with closing(open_derived_file(path, SCHEMA.replace("3", "2"), format_version=2)) as file, file:
        file.execute("insert into items values ('a')")
    if damage == "bytes":
        path.write_bytes(b"x" * 5000)
    with closing(open_derived_file(path, SCHEMA, format_version=3)) as file:
        assert file.execute("select count(*) from items").fetchone() == (0,)
