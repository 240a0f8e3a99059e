"""Rows of a drop against rows of earlier drops with the same key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.builders.contracts import column, contract
from wellspring.data.contracts.contract import egress_schema
from wellspring.data.intake.known_rows import KnownRows, has_comparable_key, summarize_known_rows
from wellspring.records.contracts import DataContract

PLAIN = contract(column("id"), column("amount", "decimal128(12, 2)"), key=("id",))
CORRECTED = PLAIN.model_copy(update={"same_key": "corrects"})
RECORDED = contract(
    column("id"), column("amount", "decimal128(12, 2)"), column("recorded_at", "timestamp[us, tz=UTC]"), key=("id",)
)
JANUARY, FEBRUARY = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


def rows(by: DataContract, *values: dict[str, Any]) -> pa.Table:
    schema = egress_schema(by)
    return pa.Table.from_pylist([{"row_number": n, **row} for n, row in enumerate(values, start=1)], schema=schema)


def landed(by: DataContract, *values: dict[str, Any], drop: str = "first") -> list[pa.RecordBatch]:
    table = rows(by, *values)
    return table.append_column("drop_id", pa.array([drop] * table.num_rows)).to_batches()


def fates(by: DataContract, earlier: list[pa.RecordBatch], *values: dict[str, Any]) -> list[str | None]:
    classified = KnownRows(by, summarize_known_rows(by, earlier)).classify_rows(rows(by, *values))
    return [
        copy or ("contradicts" if contradicts else None)
        for copy, contradicts in zip(classified.copy_of.to_list(), classified.contradicts.to_list(), strict=True)
    ]


@pytest.mark.parametrize(("by", "differing"), [(PLAIN, "contradicts"), (CORRECTED, None)])
def test_without_recorded_at_the_contract_decides(by: DataContract, differing: str | None) -> None:
    earlier = landed(by, {"id": "A", "amount": 1}, {"id": "B", "amount": None})
    new = [{"id": "A", "amount": 1}, {"id": "A", "amount": 2}, {"id": "B", "amount": None}, {"id": "C", "amount": 1}]
    assert fates(by, earlier, *new) == ["first", differing, "first", None]


@pytest.mark.parametrize(
    ("recorded", "amount", "fate"),
    [
        (JANUARY, 1, "first"),
        (JANUARY, 2, "contradicts"),
        (FEBRUARY, 2, None),
        (FEBRUARY, 1, None),
        (datetime(2025, 1, 1, tzinfo=UTC), 2, None),
        (None, 2, "contradicts"),
    ],
)
def test_recorded_at_orders_the_versions_of_a_key(recorded: datetime | None, amount: int, fate: str | None) -> None:
    earlier = landed(RECORDED, {"id": "A", "amount": 1, "recorded_at": JANUARY})
    assert fates(RECORDED, earlier, {"id": "A", "amount": amount, "recorded_at": recorded}) == [fate]


def test_a_row_is_compared_with_each_version_of_its_key() -> None:
    earlier = [
        *landed(RECORDED, {"id": "A", "amount": 1, "recorded_at": JANUARY}),
        *landed(RECORDED, {"id": "A", "amount": 2, "recorded_at": FEBRUARY}, drop="second"),
    ]
    new = [
        {"id": "A", "amount": 2, "recorded_at": FEBRUARY},
        {"id": "A", "amount": 3, "recorded_at": FEBRUARY},
        {"id": "A", "amount": 1, "recorded_at": JANUARY},
    ]
    assert fates(RECORDED, earlier, *new) == ["second", "contradicts", "first"]


def test_rows_of_an_older_contract_have_null_in_a_new_column() -> None:
    wider = contract(*PLAIN.columns, column("note"), key=("id",))
    earlier = landed(PLAIN, {"id": "A", "amount": 1}, {"id": "B", "amount": 1})
    new = [{"id": "A", "amount": 1, "note": None}, {"id": "B", "amount": 1, "note": "x"}]
    assert fates(wider, earlier, *new) == ["first", "contradicts"]


def test_text_and_types_of_the_lake_are_compared_by_value() -> None:
    table = pa.Table.from_batches(landed(PLAIN, {"id": "A", "amount": 1}))
    wide = table.set_column(0, "id", table["id"].cast(pa.large_string()))
    wide = wide.set_column(1, "amount", table["amount"].cast(pa.decimal128(20, 2)))
    assert fates(PLAIN, wide.to_batches(), {"id": "A", "amount": 1}) == ["first"]


def test_nothing_known_changes_nothing() -> None:
    assert fates(PLAIN, [], {"id": "A", "amount": 1}) == [None]


@pytest.mark.parametrize(("egress", "comparable"), [("plain", True), ("never", False), ("year", False)])
def test_a_key_that_does_not_leave_cannot_be_compared(egress: str, comparable: bool) -> None:
    assert has_comparable_key(contract(column("day", "date32[day]", egress=egress), key=("day",))) is comparable
    assert not has_comparable_key(contract(column("day", "date32[day]")))


def test_a_summary_keeps_no_batch_of_rows_in_memory(tmp_path: Path) -> None:
    note = "x" * 1_000_000
    (batch,) = landed(RECORDED, {"id": "A", "amount": 1, "recorded_at": JANUARY})
    wide = pa.Table.from_batches([batch]).append_column("note", pa.array([note]))
    with pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as file, pa.ipc.new_stream(file, wide.schema) as writer:
        for _ in range(20):
            writer.write_table(wide)
    allocated = pa.total_allocated_bytes()
    with pa.OSFile(str(tmp_path / "rows.arrow")) as file:
        summary = summarize_known_rows(RECORDED, pa.ipc.open_stream(file))
    assert summary.num_rows == 20
    assert pa.total_allocated_bytes() - allocated < len(note)
