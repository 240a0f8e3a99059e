"""A landed edition and the edition that was built from it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from wellspring.records.lake import Edition, TableSnapshot

SOURCE = TableSnapshot(table="claim", snapshot_id=1, rows=3)
MART = TableSnapshot(table="claim_features", snapshot_id=2, rows=2)


def edition(level: Any, *tables: TableSnapshot, parent: str | None = None) -> Edition:
    instant = datetime(2026, 11, 25, 12, tzinfo=UTC)
    return Edition(
        tenant="acme", known_since=instant, id=level[0] * 12, level=level, parent=parent, tables=tables, drops=("d",)
    )


LANDED = edition("landed", SOURCE)
BUILT = edition("built", SOURCE, MART, parent=LANDED.id)
