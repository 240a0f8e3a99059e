"""Formats by name and by suffix."""

from __future__ import annotations

from pathlib import Path

import pytest

from wellspring.data.formats.registry import detect_format, list_formats, load_format
from wellspring.errors import ProjectError


def test_an_unknown_format_gets_a_suggestion():
    with pytest.raises(ProjectError, match="unknown format 'parket'") as raised:
        load_format("parket")
    assert raised.value.fix == "did you mean 'parquet'?"


def test_the_formats_of_wellspring_are_registered():
    assert {"csv", "jsonl", "parquet"} <= set(list_formats())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.csv", "csv"), ("a.JSONL", "jsonl"), ("a.ndjson", "jsonl"), ("a.parquet", "parquet"), ("a.txt", "csv")],
)
def test_a_suffix_suggests_a_format(name: str, expected: str):
    assert detect_format(Path(name)) == expected
