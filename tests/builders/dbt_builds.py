"""dbt builds on DuckDB: their sources, the process of project code, and the tables that it exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pyarrow as pa

from tests.builders.project_code import PROJECT_CODE
from wellspring.data.transform import build
from wellspring.data.transform.dbt_process import BuildJob, BuildResult, list_runs
from wellspring.data.transform.leakage import LeakageReport, find_leaks
from wellspring.query.duckdb.engine import DuckDbEngine
from wellspring.query.port import DbtSource
from wellspring.records.tables import ParquetTable, TableInput

ENGINE = DuckDbEngine()


def source(file: str | Path, *columns: str) -> DbtSource:
    """A landed table of one file. columns: its recording columns."""
    return DbtSource(location={"files": [str(file)]}, known_since_columns=columns or ("recorded_at",))


def run_build(
    project: Path, scratch: Path, sources: Mapping[str, DbtSource], *, audit_instants: Sequence[str] = ()
) -> BuildResult:
    """Run dbt in a process of project code."""
    scratch.mkdir(exist_ok=True)
    job = BuildJob(
        engine="duckdb",
        project_dir=str(project),
        scratch_dir=str(scratch),
        sources=dict(sources),
        audit_instants=tuple(audit_instants),
    )
    files: list[str] = [file for table in sources.values() for file in cast("list[str]", table.location["files"])]
    readable = tuple({Path(file).parent for file in files})
    return build.run_build_process(job, PROJECT_CODE, readable=readable, trace="ab" * 16)


def open_export(scratch: Path, table: str) -> TableInput:
    """Open a table of the full build."""
    return ENGINE.dbt.open_export(table, list_runs(scratch, ())[0])


def read_export(scratch: Path, table: str) -> pa.Table:
    """Read a table of the full build."""
    stored = open_export(scratch, table)
    assert isinstance(stored, ParquetTable)
    return stored.read_rows()


def audit(build_result: BuildResult, scratch: Path, audit_instants: Sequence[str]) -> LeakageReport:
    """Compare the tables of a build with those that were built from the past."""
    return find_leaks(build_result.tables, list_runs(scratch, audit_instants), engine=ENGINE, backend=ENGINE.dbt)
