"""Parquet is typed: another type, truncation or damage rejects the file."""

import io
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders.contracts import column, contract
from wellspring.data.formats import parquet
from wellspring.data.formats.parsed import BATCH_BYTES, MAX_COLUMNS, ParsedBatch, read_all
from wellspring.errors import Refused
from wellspring.records.content import BytesContent

TYPED = contract(
    column("id"), column("day", "date32[day]"), column("amount", "decimal128(12, 2)"), column("count", "int64"),
    column("at", "timestamp[us, tz=UTC]"), format="parquet",
)  # fmt: skip
GOOD: dict[str, Any] = {
    "id": ["1", None], "day": [date(2024, 1, 2), None],
    "amount": pa.array([Decimal("1.50"), None], pa.decimal128(12, 2)), "count": [1, None],
    "at": pa.array([datetime(2024, 1, 2, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
}  # fmt: skip


def written(columns: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    return file.getvalue()


def read(content: bytes) -> ParsedBatch:
    return read_all(parquet.read_parquet(BytesContent(content), TYPED, subject="drop:1"))


def code(content: bytes) -> str:
    with pytest.raises(Refused) as refused:
        read(content)
    verdict = refused.value.verdict
    assert verdict is not None
    assert (verdict.subject, verdict.outcome) == ("drop:1", "fail")
    return verdict.reasons[0].code


def test_rows_are_read_typed_and_counted_from_one():
    parsed = read(written({**GOOD, "more": [1, 2]}))
    assert parsed.column_names == ["id", "day", "amount", "count", "at", "more"]
    assert parsed.row_numbers.to_pylist() == [1, 2]
    assert parsed.table["amount"].to_pylist() == [Decimal("1.50"), None]


def test_a_file_in_several_row_groups_is_one_table():
    parsed = read(written(GOOD, row_group_size=1))
    assert parsed.row_count == 2


def test_a_long_row_group_is_read_in_batches_of_bounded_size():
    rows = 40_000
    parsed = written(
        {
            **{name: values[:1] * rows for name, values in {"id": ["x" * 2000], "day": [None]}.items()},
            "amount": pa.nulls(rows),
            "count": list(range(rows)),
            "at": pa.nulls(rows),
        },
        use_dictionary=False,
    )
    content = BytesContent(parsed)
    batches = list(parquet.read_parquet(content, TYPED))
    assert max(batch.table.nbytes for batch in batches) < 3 * BATCH_BYTES
    assert [number for batch in batches for number in batch.row_numbers.to_pylist()] == list(range(1, rows + 1))


def test_an_empty_text_stays_and_a_naive_instant_keeps_its_digits():
    instants = pa.array([datetime(2024, 1, 2, 3, 4, 5, 123456), None], pa.timestamp("us"))
    parsed = read(written({**GOOD, "id": ["", None], "at": instants}))
    assert parsed.table["id"].to_pylist() == ["", None]
    assert parsed.table["at"].to_pylist() == [datetime(2024, 1, 2, 3, 4, 5, 123456), None]


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("id", pa.array([1, 2])),
        ("id", pa.array([b"1", b"2"])),
        ("id", pa.array([b"1", b"2"], pa.large_binary())),
        ("id", pa.array([[1], None])),
        ("id", pa.array([{"a": 1}, None])),
        ("count", pa.array([2**64 - 1, 1], pa.uint64())),
        ("amount", pa.array([Decimal("1.50"), None], pa.decimal256(40, 2))),
        ("day", ["2024-01-02", "2024-01-03"]),
        ("day", pa.array([datetime(2024, 1, 2, tzinfo=UTC), None])),
        ("amount", [1.5, 2.5]),
        ("amount", ["1.50", "2.50"]),
        ("amount", pa.array([Decimal("1.500"), None], pa.decimal128(12, 3))),
        ("amount", pa.array([Decimal("1.50"), None], pa.decimal128(20, 2))),
    ],
)
def test_column_of_another_type_rejects_the_file(name: str, second: Any):
    assert code(written({**GOOD, name: second})) == "type_changed"


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("id", pa.array(["1", "2"], pa.large_string())),
        ("id", pa.array(["1", "2"]).dictionary_encode()),
        ("amount", pa.array([Decimal("1.5"), None], pa.decimal128(5, 1))),
        ("amount", pa.array([Decimal("1.5"), None], pa.decimal32(5, 1))),
        ("id", pa.nulls(2)),
        ("day", pa.array([date(2024, 1, 2), None], pa.date64())),
        ("count", pa.array([1, None]).dictionary_encode()),
        ("at", pa.array([datetime(2024, 1, 2, 3, 4, 5, 123456), None], pa.timestamp("ns"))),
        ("at", pa.array([datetime(2024, 1, 2, 3, 4, 5, 123456), None], pa.timestamp("us"))),
        ("at", pa.array([datetime(2024, 1, 2, tzinfo=UTC), None], pa.timestamp("ms", "America/New_York"))),
    ],
)
def test_narrower_type_is_accepted(name: str, second: Any):
    assert read(written({**GOOD, name: second})).row_count == 2


def test_every_changed_type_is_reported():
    with pytest.raises(Refused) as refused:
        read(written({**GOOD, "id": [1, 2], "day": ["x", "y"], "amount": [1.5, 2.5]}))
    assert refused.value.what.count("is rejected") == 3


def test_invalid_parquet_files_are_rejected():
    whole = written(GOOD)
    assert code(b"") == "empty_file"
    assert code(b"id,day,amount\n") == "unreadable"
    assert code(whole[: len(whole) // 2]) == "truncated"
    assert code(whole[:-1]) == "truncated"
    assert code(b"PAR1PAR1") == "truncated"
    assert code(b"PAR1" + b"\xff" * 64 + b"PAR1") == "unreadable"
    assert code(written({name: pa.array(values)[:0] for name, values in GOOD.items()})) == "header_only"
    assert code(written({"id": ["1"], "day": [date(2024, 1, 2)]})) == "missing_column"


def test_a_damaged_page_is_seen_where_the_writer_left_checksums():
    whole = bytearray(written({**GOOD, "id": ["a" * 200, "b" * 200]}, write_page_checksum=True, compression="none"))
    instant = whole.index(b"a" * 200)
    whole[instant + 100] ^= 1
    assert code(bytes(whole)) == "unreadable"


def test_the_type_of_a_refused_column_repeats_nothing_that_the_file_names():
    columns = (column("id"), column("amount", "int64"), column("at", "int64"))
    part = pa.StructArray.from_arrays([pa.array([1])], ["Ann Lee 536-90-4399"])
    table = pa.table({"id": ["1"], "amount": part, "at": pa.array([0], pa.timestamp("us", "Ann/Lee"))})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    with pytest.raises(Refused) as refused:
        list(parquet.read_parquet(BytesContent(sink.getvalue()), contract(*columns, format="parquet")))
    assert "Ann" not in str(refused.value)
    assert refused.value.verdict is not None
    assert [reason.column for reason in refused.value.verdict.reasons] == ["amount", "at"]


def repeated(values: Any, times: int) -> bytes:
    """Write a row group of these values several times."""
    file, table = io.BytesIO(), pa.table({"count": values})
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(times):
            writer.write_table(table)
    return file.getvalue()


def test_small_file_that_decodes_to_gigabytes_is_refused_before_a_page_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parquet, "_read_batches", lambda *_: pytest.fail("it was read"))
    one_number = repeated(pa.repeat(pa.scalar(1), 3_000_000), 34)
    one_text = repeated(pa.array(["x" * 100_000_000]), 5)
    for content in (one_number, one_text):
        assert len(content) < 2**20
        assert code(content) == "over_budget"


def test_file_for_which_arrow_gets_no_memory_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 1 failed")

    monkeypatch.setattr(parquet, "_read_batches", fail)
    by = contract(column("count", "int64"), format="parquet")
    with pytest.raises(MemoryError):
        list(parquet.read_parquet(BytesContent(repeated([1], 1)), by))


def test_file_with_too_many_columns_is_refused():
    assert code(written({f"c{number}": [1] for number in range(MAX_COLUMNS + 1)})) == "over_budget"


def test_file_of_few_different_values_is_within_the_budget():
    assert (
        read(
            written(
                {
                    name: values * 50_000 if isinstance(values, list) else pa.concat_arrays([values] * 50_000)
                    for name, values in GOOD.items()
                }
            )
        ).row_count
        == 100_000
    )


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_text_with_a_nul_character_is_the_fault_of_its_row(kind: pa.DataType):
    parsed = read(written({**GOOD, "note": pa.array(["a\0b", None], pa.string()).cast(kind)}))
    assert parsed.row_faults.to_pylist() == ["nul_character", None]


def test_a_dictionary_that_repeats_a_long_text_is_refused_before_it_is_decoded():
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2_000_000, np.int32)), pa.array(["x" * 100_000]))
    content = written({"id": text, **{name: pa.nulls(2_000_000) for name in ("day", "amount", "count", "at")}})
    assert len(content) < 200_000
    with pytest.raises(Refused, match="decode to more than 1000 times") as refused:
        read(content)
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["over_budget"]


def test_rows_with_long_texts_of_a_dictionary_come_in_small_batches():
    text = pa.DictionaryArray.from_arrays(pa.array([0, None, 0, 1] * 100, pa.int32()), pa.array(["x" * 1_000_000, "y"]))
    content = written({"id": text, **{name: pa.nulls(400) for name in ("day", "amount", "count", "at")}})
    batches = list(parquet.read_parquet(BytesContent(content), TYPED))
    assert len(batches) > 2
    assert max(batch.table.nbytes for batch in batches) < 80 << 20
    lengths = [None if value is None else len(value) for batch in batches for value in batch.table["id"].to_pylist()]
    assert lengths == [1_000_000, None, 1_000_000, 1] * 100
    assert [number for batch in batches for number in batch.row_numbers.to_pylist()] == list(range(1, 401))


def test_a_file_of_an_earlier_layout_is_read_without_the_columns_added_since():
    wider = contract(*TYPED.columns, column("more", "int64", added_in="1.1.0"), format="parquet")
    batch = read_all(parquet.read_parquet(BytesContent(written(GOOD)), wider, subject="drop:1"))
    assert batch.column_names == list(GOOD)
