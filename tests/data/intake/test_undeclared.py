"""Columns that no contract declares."""

import pyarrow as pa

from tests.builders.contracts import column, contract
from tests.builders.pii import SCANNER
from wellspring.data.formats.parsed import ParsedBatch
from wellspring.data.intake.undeclared import UndeclaredColumns


def batch(**columns: list[str | None]) -> ParsedBatch:
    rows = len(next(iter(columns.values())))
    return ParsedBatch(pa.table(columns), pa.array(range(1, rows + 1)), pa.nulls(rows, pa.string()))


def test_values_and_kinds_are_counted_over_batches():
    undeclared = UndeclaredColumns(contract(column("id")), SCANNER)
    undeclared.add_batch(batch(id=["1"], mail=["ann@example.com"]))
    undeclared.add_batch(batch(id=["2", "3"], mail=["x", None], more=["y", "z"]))
    assert undeclared.value_count == 4
    mail, more = undeclared.describe_columns()
    assert (mail.code, mail.column, mail.count, more.count) == ("undeclared_column", "mail", 2, 2)
    assert "email in 1 rows" in mail.message
    assert "no detectable personal data" in more.message


def test_nested_values_are_searched_and_unreadable_bytes_are_named():
    undeclared = UndeclaredColumns(contract(column("id")), SCANNER)
    table = pa.table({"id": ["1"], "parts": [[{"ssn": "536-90-4399"}]], "raw": pa.array([b"\xff\xfe"], pa.binary())})
    undeclared.add_batch(ParsedBatch(table, pa.array([1]), pa.nulls(1, pa.string())))
    parts, raw = undeclared.describe_columns()
    assert "ssn in 1 rows" in parts.message
    assert "cannot be searched" in raw.message
