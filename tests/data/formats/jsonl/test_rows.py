"""Rows of JSON Lines are collected in batches, and what concerns the whole file is counted."""

from __future__ import annotations

import pytest

from tests.builders.contracts import column, contract
from wellspring.data.formats.jsonl import rows as module
from wellspring.data.formats.jsonl.rows import RowCollector, format_value

TWO = contract(column("id"), column("note"), format="jsonl")


def test_a_batch_ends_and_the_next_one_counts_on():
    rows = RowCollector(TWO)
    assert rows.is_empty
    assert [rows.add_line(line) for line in (b'{"id": "1", "more": 1}', b"[]")] == [None, "not_object"]
    first = rows.take_batch()
    assert rows.is_empty
    rows.add_line(b'{"note": "x"}')
    second = rows.take_batch()
    assert first.table.to_pydict() == {"id": ["1", None], "note": [None, None], "more": ["1", None]}
    assert second.table.to_pydict() == {"id": [None], "note": ["x"]}
    assert (first.row_numbers.to_pylist(), second.row_numbers.to_pylist()) == ([1, 2], [3])
    assert (rows.row_count, rows.fault_counts, list(rows.undeclared_keys)) == (3, {"not_object": 1}, ["more"])
    assert rows.found_names() == ["id", "note"]


@pytest.mark.parametrize("limit", ["BATCH_ROWS", "BATCH_BYTES", "_MAX_CELLS"])
def test_a_batch_is_full_by_rows_bytes_or_cells(monkeypatch: pytest.MonkeyPatch, limit: str):
    monkeypatch.setattr(module, limit, {"BATCH_ROWS": 2, "BATCH_BYTES": 40, "_MAX_CELLS": 6}[limit])
    rows, states = RowCollector(TWO), list[bool]()
    for number in range(2):
        rows.add_line(f'{{"id": "{number}", "more": 1}}'.encode())
        states.append(rows.is_full)
    assert states == [False, True]


def test_a_value_is_its_text():
    values = ["a", "", None, True, False, ["x"], {"k": None}]
    assert [format_value(value) for value in values] == ["a", None, None, "true", "false", '["x"]', '{"k": null}']


@pytest.mark.parametrize("key", ["Note", " note", "note\\u200b", "\uff4eote"])
def test_a_value_under_another_spelling_of_its_key_is_a_fault_of_the_row(key: str):
    rows = RowCollector(TWO)
    rows.add_line(f'{{"id": "1", "{key}": "x"}}'.encode())
    rows.add_line(f'{{"id": "2", "note": "x", "{key}": "y"}}'.encode())
    rows.add_line(f'{{"id": "3", "{key}": null}}'.encode())
    faults = rows.take_batch().type_faults
    assert faults is not None
    assert faults.to_pylist() == ["note", None, None]


def test_another_spelling_of_a_nested_key_is_a_fault_of_the_columns_below():
    rows = RowCollector(contract(column("id"), column("zip", path="address.zip"), format="jsonl"))
    rows.add_line(b'{"id": "1", "Address": {"zip": "12345"}}')
    rows.add_line(b'{"id": "1", "address": {"ZIP": "12345"}}')
    faults = rows.take_batch().type_faults
    assert faults is not None
    assert faults.to_pylist() == ["zip", "zip"]
