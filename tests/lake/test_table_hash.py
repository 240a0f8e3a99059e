"""One digest for equal rows, whatever Arrow did with their memory; another for any other rows."""

import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellspring.lake import table_hash

TYPES: dict[str, tuple[pa.DataType, Any]] = {
    "text": (pa.string(), st.text(st.characters(codec="utf-8"), max_size=6)),
    "whole": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float": (pa.float64(), st.floats(allow_nan=False)),
    "flag": (pa.bool_(), st.booleans()),
    "day": (pa.date32(), st.dates()),
    "instant": (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
    "amount": (pa.decimal128(12, 2), st.decimals(-999, 999, places=2)),
}
ROWS = st.lists(st.fixed_dictionaries({name: st.none() | values for name, (_, values) in TYPES.items()}), max_size=20)
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in TYPES.items()])


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def with_garbage(column: pa.Array) -> pa.Array:
    """Put other bytes where a null has its value."""
    kind = column.type
    if len(column) == 0 or not column.null_count:
        return column
    if kind == pa.string():
        filled = column.fill_null("rubbish")
        return pa.StringArray.from_buffers(len(filled), *filled.buffers()[1:], column.is_valid().buffers()[1])
    rubbish = {
        "int64": 7, "double": 7.5, "bool": True, "date32[day]": date(2001, 1, 1),
        "timestamp[us, tz=UTC]": datetime(2001, 1, 1, tzinfo=UTC), "decimal128(12, 2)": Decimal("7.00"),
    }[str(kind)]  # fmt: skip
    filled = column.fill_null(pa.scalar(rubbish, kind))
    return pa.Array.from_buffers(kind, len(filled), [column.is_valid().buffers()[1], filled.buffers()[1]])


@given(ROWS, st.integers(0, 20), st.integers(0, 9))
def test_the_digest_does_not_see_how_rows_lie_in_memory(rows: list[dict[str, Any]], cut: int, before: int):
    whole = table(rows)
    expected = table_hash.hash_rows(whole)
    padding = table([dict.fromkeys(TYPES)] * before)
    garbage = pa.table([with_garbage(pa.concat_arrays([*whole[name].chunks, pa.array([], SCHEMA.field(name).type)]))
                        for name in TYPES], schema=SCHEMA)  # fmt: skip
    same = {
        "chunked": pa.concat_tables([whole.slice(0, cut), whole.slice(cut)]),
        "sliced": pa.concat_tables([padding, whole]).combine_chunks().slice(before),
        "cut at both ends": pa.concat_tables([padding, whole, padding]).combine_chunks().slice(before, len(rows)),
        "large text": whole.set_column(0, "text", whole["text"].cast(pa.large_string())),
        "viewed text": whole.set_column(0, "text", whole["text"].cast(pa.string_view())),
        "dictionary": whole.set_column(0, "text", whole["text"].dictionary_encode()),
        "other order of columns": whole.select(sorted(TYPES, reverse=True)),
        "other zone": whole.set_column(5, "instant", whole["instant"].cast(pa.timestamp("us", "America/New_York"))),
        "garbage under nulls": garbage,
        "with metadata": whole.replace_schema_metadata({"pandas": "x"}),
    }
    assert {mode: table_hash.hash_rows(item) for mode, item in same.items()} == dict.fromkeys(same, expected)


@given(ROWS.filter(len), st.data())
def test_any_other_value_gives_another_digest(rows: list[dict[str, Any]], data: st.DataObject):
    row = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(list(TYPES)))
    second = data.draw(st.none() | TYPES[name][1])
    changed = [dict(item) for item in rows]
    changed[row][name] = second
    as_before = repr(table(changed).column(name)[row].as_py()) == repr(table(rows).column(name)[row].as_py())
    assert (table_hash.hash_rows(table(changed)) == table_hash.hash_rows(table(rows))) == as_before


@pytest.mark.parametrize(
    ("item", "second"),
    [
        ({"a": ["x", "y"]}, {"a": ["y", "x"]}),
        ({"a": ["xy", ""]}, {"a": ["x", "y"]}),
        ({"a": pa.array([None], pa.string())}, {"a": [""]}),
        ({"a": ["x"], "b": ["y"]}, {"a": ["y"], "b": ["x"]}),
        ({"a": ["x"]}, {"b": ["x"]}),
        ({"a": pa.array([1])}, {"a": pa.array([1], pa.int32())}),
        ({"a": pa.array([], pa.string())}, {"a": pa.array([], pa.int64())}),
        ({"a": [True] * 3}, {"a": [True] * 4}),
        ({"a": [0]}, {"a": pa.array([None], pa.int64())}),
    ],
)
def test_rows_that_differ_have_different_digests(item: dict[str, Any], second: dict[str, Any]):
    assert table_hash.hash_rows(pa.table(item)) != table_hash.hash_rows(pa.table(second))


def test_the_format_is_what_its_docstring_says():
    def part(content: bytes) -> bytes:
        return len(content).to_bytes(8, "little") + content

    def digests(validity: bytes, lengths: list[int], values: bytes) -> bytes:
        packed = b"".join(length.to_bytes(8, "little") for length in lengths)
        return b"".join(hashlib.sha256(content).digest() for content in (validity, packed, values))

    amounts = b"".join(value.to_bytes(8, "little", signed=True) for value in (-1, 0, 2))
    expected = b"wellspring rows v2\n" + (3).to_bytes(8, "little")
    expected += part(b"amount") + part(b"int64") + digests(b"\1\0\1", [], amounts)
    expected += part(b"name") + part(b"string") + digests(b"\1\1\1", [1, 0, 2], "a\u00e9".encode())
    result = table_hash.hash_rows(pa.table({"name": ["a", "", "\u00e9"], "amount": [-1, None, 2]}))
    assert result == hashlib.sha256(expected).hexdigest()


@given(ROWS, st.lists(st.integers(1, 7), min_size=1))
def test_the_digest_does_not_depend_on_how_rows_are_divided_into_batches(rows: list[dict[str, Any]], sizes: list[int]):
    whole = table(rows).combine_chunks()
    hasher, start = table_hash.RowHasher(SCHEMA), 0
    while start < whole.num_rows:
        size = sizes[start % len(sizes)]
        for batch in whole.slice(start, size).to_batches():
            hasher.update(batch)
        start += size
    assert hasher.hexdigest() == table_hash.hash_rows(whole)


def test_what_has_no_digest_is_refused():
    with pytest.raises(TypeError, match="no digest"):
        table_hash.hash_rows(pa.table({"a": [[1]]}))
    with pytest.raises(ValueError, match="same name"):
        table_hash.hash_rows(pa.table([pa.array([1]), pa.array([1])], names=["a", "a"]))
