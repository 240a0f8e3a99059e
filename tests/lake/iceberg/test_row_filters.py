"""A filter lets every row pass that has the values, for each type of a key column."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.builders import lakes
from wellspring.lake.port import ColumnValues

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONG = "a text that is longer than the sixteen characters of a bound, "


@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize(
    ("kind", "low", "high", "outside"),
    [
        (pa.string(), LONG + "1", LONG + "2", "b"),
        (pa.int64(), -1, 2**62, -2),
        (pa.date32(), date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)),
        (pa.timestamp("us", "UTC"), NOON, NOON + timedelta(days=1), NOON + timedelta(days=9)),
        (pa.decimal128(12, 2), Decimal("1.50"), Decimal("2.50"), Decimal("3.00")),
    ],
    ids=["text", "number", "date", "instant", "decimal"],
)  # fmt: skip
def test_files_with_a_value_are_planned_and_others_are_not(
    tmp_path: Path, kind: pa.DataType, low: Any, high: Any, outside: Any, is_listed: bool
):
    catalog = lakes.open_catalog(tmp_path)
    parts = [pa.table({"key": pa.array([value], kind)}) for value in (low, high, outside)]
    table = catalog.prepare_table("a", parts[0].schema)
    head = table.root_snapshot_id()
    for part in parts:
        head = table.append_rows(part.to_reader(), head, {"drop": "a"})
    values = {"key": ColumnValues(frozenset({low, high}) if is_listed else None, low, high)}
    assert len(lakes.stored_files(table.open_snapshot(head, values))) == 2
    assert len(lakes.stored_files(table.open_snapshot(head))) == 3
    catalog.close()
