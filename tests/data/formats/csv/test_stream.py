"""The fast and the exact reader of CSV give the same rows, for any block size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.contracts import text
from wellspring.data.formats.csv import stream as module
from wellspring.data.formats.csv.dialect import Dialect
from wellspring.data.formats.csv.stream import CsvStream
from wellspring.errors import Refused

Rows = list[tuple[list[str | None], str | None]]
DIALECTS = [Dialect(), Dialect(escape="backslash"), Dialect(quote="none"), Dialect(";", "none", "backslash")]


class ExactStream(CsvStream):
    """A stream that never uses the fast reader."""

    def _find_regular_end(self) -> int:
        return self._position


def read(
    content: bytes, dialect: Dialect, width: int, block_bytes: int, kind: type[CsvStream] = CsvStream
) -> Rows | str:
    """Return the rows with their faults, or the refusal."""
    blocks = (content[start : start + block_bytes] for start in range(0, len(content), block_bytes))
    try:
        return [
            (list(row.values()), fault)
            for rows in kind(blocks, dialect, "drop:1").read_rows(width)
            for row, fault in zip(rows.table.to_pylist(), rows.faults.to_pylist(), strict=True)
        ]
    except Refused as refused:
        return refused.what


PIECES = st.lists(st.sampled_from(['"', '""', "\\", ",", ";", "\n", "\r\n", "\r", "a", "é", "x y"]), max_size=60).map(
    "".join
)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(pieces=PIECES, block_bytes=st.integers(1, 30), width=st.integers(1, 3))
def test_both_readers_give_the_same_rows_for_any_text(dialect: Dialect, pieces: str, block_bytes: int, width: int):
    content = pieces.encode()
    exact = read(content, dialect, width, max(1, len(content)), ExactStream)
    assert read(content, dialect, width, max(1, len(content))) == exact
    assert read(content, dialect, width, block_bytes) == exact
    assert read(content, dialect, width, block_bytes, ExactStream) == exact


FIELD = st.text(st.sampled_from('a",;\\\n\ré '), max_size=6)


def write(rows: list[list[str]], dialect: Dialect) -> bytes:
    """Write each field in quotes."""

    def quote(field: str) -> str:
        if dialect.has_backslashes:
            return '"' + field.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return '"' + field.replace('"', '""') + '"'

    return "".join(dialect.delimiter.join(map(quote, row)) + "\n" for row in rows).encode()


@pytest.mark.parametrize("dialect", DIALECTS[:2])
@given(rows=st.lists(st.lists(FIELD, min_size=3, max_size=3), max_size=12), block_bytes=st.integers(1, 40))
def test_what_is_written_by_the_rules_is_read_back(dialect: Dialect, rows: list[list[str]], block_bytes: int):
    expected = [([field or None for field in row], None) for row in rows]
    assert read(write(rows, dialect), dialect, 3, block_bytes) == expected


def test_a_row_longer_than_the_limit_is_refused_with_its_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_RECORD_BYTES", 100)
    long = "x" * 200
    assert "row in line 2 is longer than" in str(read(text("1,2", f"1,{long}", "3,4"), Dialect(), 2, 50))
    assert "opened in line 2 and not closed within" in str(read(text("1,2", f'1,"{long}', "3,4"), Dialect(), 2, 50))


def test_a_quote_that_is_not_closed_is_refused_with_the_line_where_it_opened():
    content = text("1,2", '3,"a', 'b"', '4,"c', "5,6")
    for block_bytes in (3, 1000):
        assert "a quote is opened in line 4 and not closed" in str(read(content, Dialect(), 2, block_bytes))


def test_regular_text_is_read_by_the_fast_reader(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(CsvStream, "_read_exact", lambda *_: [])
    content = text('1,19" screen', '2,"a ""b"", c', 'd"', '3,x"y"')
    assert read(content, Dialect(), 2, 1000) == [
        (["1", '19" screen'], None), (["2", 'a "b", c\nd'], None), (["3", 'x"y"'], None),
    ]  # fmt: skip
