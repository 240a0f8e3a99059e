"""Small dbt projects and histories for the tests of what is built."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PROJECT = """
name: tiny
version: "1.0.0"
config-version: 2
profile: wellspring
flags: {send_anonymous_usage_stats: false}
models: {tiny: {+materialized: table}}
"""
SOURCES = """
sources: [{name: landed, schema: landed, tables: [{name: visit}]}]
"""
FEATURES = """
models:
  - name: visits
    config: {contract: {enforced: true}, meta: {keys: [person]}}
    columns:
      - {name: person, data_type: varchar, data_tests: [not_null]}
      - {name: known_since, data_type: timestamp with time zone}
      - {name: sequence, data_type: bigint}
      - {name: so_far, data_type: bigint}
      - {name: in_all, data_type: bigint}
"""
HONEST = "count(*) over (partition by person order by recorded_at) as so_far"
LOOKS_AHEAD = "count(*) over (partition by person) as in_all"
VISITS = f"""
select person, recorded_at as known_since, row_number() over (partition by person order by recorded_at) as sequence,
  {HONEST}, {LOOKS_AHEAD}
from {{{{ source("landed", "visit") }}}}
"""
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def project(folder: Path, files: Mapping[str, str]) -> Path:
    """Write a dbt project: these files below models/, or below the folder itself where a name says so."""
    for name, text in {"../dbt_project.yml": PROJECT, "sources.yml": SOURCES, **files}.items():
        path = Path(os.path.normpath(folder / "models" / name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def visits(count: int = 40, people: int = 4, *, first: int = 0) -> pa.Table:
    """Make rows of one source: each visit is recorded a day after the one before."""
    numbers = range(first, first + count)
    return pa.table(
        {
            "person": pa.array([f"person_k1_{number % people:026d}" for number in numbers], pa.string()),
            "amount": pa.array([f"secret-{number}" for number in numbers], pa.string()),
            "recorded_at": pa.array([FIRST + timedelta(days=n) for n in numbers], pa.timestamp("us", "UTC")),
            "row_number": pa.array(range(1, count + 1), pa.int64()),
        }
    )


def written(table: pa.Table, path: Path) -> str:
    """Write a table as the lake would hold it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return str(path)
