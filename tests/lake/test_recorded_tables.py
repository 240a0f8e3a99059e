"""Recorded tables grow in the order of the log: an append counts once, and says how far the table is complete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.builders import lakes
from tests.builders.leases import ScriptedFence
from wellspring.errors import CorruptedError, NotFound
from wellspring.lake.iceberg.table import IcebergTable
from wellspring.lake.port import RECORDED_NAMESPACE
from wellspring.lake.recorded_tables import RecordedState, RecordedTables

SCHEMA = pa.schema([("id", pa.string()), ("log_index", pa.int64())])


def rows(*numbers: int) -> pa.RecordBatchReader:
    table = pa.table({"id": [f"p{number}" for number in numbers], "log_index": list(numbers)}, schema=SCHEMA)
    return table.to_reader()


@pytest.fixture
def tables(tmp_path: Path) -> RecordedTables:
    return RecordedTables(lakes.open_catalog(tmp_path, RECORDED_NAMESPACE), ScriptedFence())


def test_a_table_grows_and_says_how_far_it_is_complete(tables: RecordedTables, tmp_path: Path):
    assert tables.read_state("prediction") == RecordedState(-1, 0)
    assert tables.read_rows("prediction") is None
    assert tables.open_table("prediction") is None
    assert tables.append_rows("prediction", rows(3, 4), 7).rows == 2
    assert tables.append_rows("prediction", rows(9), 9).rows == 3
    assert tables.read_state("prediction") == RecordedState(9, 3)
    reopened = RecordedTables(lakes.open_catalog(tmp_path, RECORDED_NAMESPACE), ScriptedFence())
    stored = reopened.read_rows("prediction", ["id"])
    assert stored is not None
    assert sorted(stored["id"].to_pylist()) == ["p3", "p4", "p9"]
    assert reopened.open_table("prediction") is not None


def test_rows_that_a_crash_left_unpublished_are_replaced(tables: RecordedTables, tmp_path: Path):
    tables.append_rows("prediction", rows(1), 1)
    for number, staged in ((2, False), (3, True)):
        table = lakes.open_catalog(tmp_path, RECORDED_NAMESPACE).load_table("prediction")
        lost = table.append_rows(rows(90 + number), table.branch_head("main") or 0, {"log_position": "99"})
        if staged:
            table.move_staging(lost)
        assert tables.read_state("prediction") == RecordedState(number - 1, number - 1)
        tables.append_rows("prediction", rows(number), number)
    stored = tables.read_rows("prediction")
    assert stored is not None
    assert sorted(stored["id"].to_pylist()) == ["p1", "p2", "p3"]


def test_a_position_never_goes_back(tables: RecordedTables):
    tables.append_rows("prediction", rows(5), 5)
    with pytest.raises(ValueError, match="complete up to 5"):
        tables.append_rows("prediction", rows(4), 4)


def test_a_snapshot_of_another_writer_is_named(tables: RecordedTables, tmp_path: Path):
    tables.append_rows("prediction", rows(5), 5)
    catalog = lakes.open_catalog(tmp_path, RECORDED_NAMESPACE)
    table = catalog.load_table("prediction")
    foreign = table.append_rows(rows(6), table.branch_head("main") or 0, {})
    table.move_staging(foreign)
    table.publish(foreign, "foreign")
    with pytest.raises(CorruptedError, match="does not say how far"):
        tables.read_state("prediction")


def test_many_files_become_one_with_equal_rows_in_equal_order(tables: RecordedTables, tmp_path: Path):
    for number in range(9):
        tables.append_rows("prediction", rows(number), number)
    before = tables.read_rows("prediction")
    assert tables.list_names() == ("prediction",)
    assert tables.count_files("prediction") == 9
    compacted = tables.write_compacted("prediction")
    assert tables.count_files("prediction") == 9, "readers have the former files"
    tables.switch_to_compacted(compacted)
    assert (tables.count_files("prediction"), compacted.rows) == (1, 9)
    after = tables.read_rows("prediction")
    assert before is not None
    assert after is not None
    assert sorted(after.to_pylist(), key=str) == sorted(before.to_pylist(), key=str)
    assert tables.read_state("prediction") == RecordedState(8, 9)
    tables.append_rows("prediction", rows(9), 9)
    assert tables.remove_orphan_files(older_than=datetime.now(UTC) + timedelta(days=1)) >= 9
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    assert tables.read_state("prediction") == RecordedState(9, 10)
    again = tables.write_compacted("prediction")
    tables.switch_to_compacted(again)
    assert again.rows == 10
    with pytest.raises(NotFound):
        tables.write_compacted("outcome")


def test_rows_that_read_back_differently_replace_nothing(tables: RecordedTables, monkeypatch: pytest.MonkeyPatch):
    for number in range(2):
        tables.append_rows("prediction", rows(number), number)
    monkeypatch.setattr(IcebergTable, "rows_added_by", _damage(IcebergTable.rows_added_by))
    with pytest.raises(CorruptedError, match="read back differently"):
        tables.write_compacted("prediction")
    assert tables.count_files("prediction") == 2


def _damage(read: Any) -> Any:
    calls: list[int] = []

    def rows_added_by(table: Any, snapshot_id: int) -> pa.RecordBatchReader:
        calls.append(snapshot_id)
        return read(table, snapshot_id) if len(calls) <= 3 else rows(77)

    return rows_added_by
