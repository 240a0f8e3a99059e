"""Landed and built editions of a lake in memory of a test: three claims, and two tables that were built of them."""

from __future__ import annotations

import pyarrow as pa

from tests.builders import drops
from tests.builders.recording_step import RecordingStep
from wellspring.lake import editions
from wellspring.lake.lake import Lake
from wellspring.records.lake import Edition, TableSnapshot

CLAIMS = drops.contract()


def landed(lake: Lake, step: RecordingStep, name: str = "a") -> Edition:
    lake.stage_part(drops.intake(name, CLAIMS, drops.rows(3, first=len(name) * 10)), CLAIMS, step=step)
    return lake.publish("clearinghouse", lake.staged_parts(), step=step)


def rows(count: int = 3, **more: list[float]) -> pa.Table:
    return pa.table({"claim_id": [f"claim_k1_{n:026d}" for n in range(count)], "share": [0.5] * count, **more})


def composed(lake: Lake, base: Edition, *built_value: TableSnapshot) -> Edition:
    return editions.build_edition(
        level="built",
        parent=base.id,
        tables=[*base.tables, *built_value],
        drops=(),
        tenant="acme",
        known_since=lake.clock.now(),
    )


def built(lake: Lake, base: Edition, step: RecordingStep, table: pa.Table | None = None) -> Edition:
    """Write two tables and publish them."""
    table = rows() if table is None else table
    written = [
        lake.built_tables.write_table(name, table, ["claim_id"], {"code": "c"}) for name in ("features", "labels")
    ]
    edition = composed(lake, base, *(snapshot for snapshot, _ in written))
    outputs = [ref for _, ref in written]
    lake.built_tables.publish(
        edition, inputs=(), outputs=outputs, facts={"leaks": ["features.share"], "audited": {"features": 3}}, step=step
    )
    return edition
