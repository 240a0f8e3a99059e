"""Rows of text: a row of another width is fitted to the header, in its place."""

from __future__ import annotations

from wellspring.data.formats.csv.dialect import Dialect
from wellspring.data.formats.csv.records import CsvRecord
from wellspring.data.formats.csv.rows import build_rows, fit_fields, mark_repeated_headers, parse_regular


def test_the_last_column_keeps_all_surplus_fields():
    assert fit_fields([b"a", b"b", b"c"], 2, ";") == [b"a", b"b;c"]
    assert fit_fields([b"", b"b"], 3, ",") == [None, b"b", None]


def test_records_become_rows_with_their_faults():
    rows = build_rows([CsvRecord([b"a", b""], 0), CsvRecord([b"x", b'"y"z'], 0, "quote"), CsvRecord([b"b"], 0)], 2, ",")
    assert rows.table.to_pydict() == {"0": ["a", "x", "b"], "1": [None, '"y"z', None]}
    assert (rows.faults.to_pylist(), rows.last_field_count, rows.count) == ([None, "quote", "fields"], 1, 3)


def test_regular_text_is_read_with_its_ragged_rows_in_place():
    rows = parse_regular(b'\n1,a\n2\n\n3,"x\ny"\n4,b,c\n', 2, Dialect())
    assert rows is not None
    assert rows.table.to_pydict() == {"0": ["1", "2", "3", "4"], "1": ["a", None, "x\ny", "b,c"]}
    assert (rows.faults.to_pylist(), rows.last_field_count) == ([None, "fields", None, "fields"], 3)


def test_blank_lines_are_no_rows():
    rows = parse_regular(b"\n\r\n", 2, Dialect())
    assert rows is not None
    assert rows.count == 0


def test_a_row_that_repeats_the_header_has_a_fault():
    rows = build_rows([CsvRecord([b"id", b"x"], 0), CsvRecord([b"\xef\xbb\xbfid", b"note"], 0)], 2, ",")
    marked = mark_repeated_headers(rows, ["id", "note"])
    assert marked.faults.to_pylist() == [None, "repeated_header"]
    assert mark_repeated_headers(rows, ["id", ""]).faults.to_pylist() == [None, None]
