"""A JSON Lines file without a contract: flattened columns with their paths, and errors that quote no value."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.contracts import text
from wellspring.data.formats.jsonl.sample import read_jsonl_sample
from wellspring.errors import ProjectError


def error(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "orders.jsonl"
    path.write_bytes(content)
    with pytest.raises(ProjectError) as result:
        read_jsonl_sample(path)
    return f"{result.value.what.removeprefix(str(path))} FIX {result.value.fix}"


def test_objects_are_flattened_to_columns_with_paths(tmp_path: Path):
    path = tmp_path / "orders.jsonl"
    path.write_bytes(text('{"id": 1, "to": {"zip": "12345", "geo": {"lat": 1.50}}}', '{"id": 2, "tags": ["a"]}'))
    sample = read_jsonl_sample(path)
    assert sample.rows.to_pydict() == {
        "id": ["1", "2"], "to_zip": ["12345", None], "to_geo_lat": ["1.50", None], "tags": [None, '["a"]'],
    }  # fmt: skip
    assert sample.paths == {"to_zip": "to.zip", "to_geo_lat": "to.geo.lat"}


@pytest.mark.parametrize(
    ("content", "output"),
    [
        (b"", "it is empty"),
        (b"id,note\n1,x\n", "row 1: the line is not one JSON value"),
        (b'{"a": 1}\n{"a": 1, "a": 2}\n', "row 2: the line has a key twice"),
        (b"{}\n", "its objects have no keys"),
        (b'{"a b": 1}\n', "its key number 1 has characters other than"),
        (b'{"a": 1, "A": 2}\n', "two of its columns have the same name"),
        (b'{"a": {"b": 1}, "a_b": 2}\n', "two of its columns have the same name"),
        (b'{"fault": 1}\n', "fault is reserved"),
        (text(*(f'{{"k{number}": 1}}' for number in range(1001))), "more than 1000 different keys"),
    ],
)
def test_each_error_is_named(tmp_path: Path, content: bytes, output: str):
    assert output in error(tmp_path, content)


def test_a_key_that_is_a_value_is_not_quoted(tmp_path: Path):
    assert "ann" not in error(tmp_path, b'{"ann@example.com": 1}\n')
