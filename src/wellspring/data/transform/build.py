"""Transform: from one landed edition to the built one, by dbt, with the question which column knew the future.

Life of a build. dbt runs in a child process (`building`) over the files of the landed edition and nothing else, and
writes Parquet into a scratch folder. The same is built again from the rows that were recorded up to some earlier
instants: a history that holds what was known then is the same in both; a column that differs had looked ahead, and
is named. Then the tables are audited, written to the lake, read back and published with the landed tables as one.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from wellspring.data.transform import dbt_process
from wellspring.data.transform.audit_instants import choose_audit_instants, known_since_columns
from wellspring.data.transform.dbt_process import BuildJob, BuildResult, ExportedTable, SourceTable
from wellspring.data.transform.leakage import compare_past
from wellspring.data.transform.source_digest import code_digest
from wellspring.errors import CorruptedError, ProjectError, Refused, Unavailable
from wellspring.lake import editions
from wellspring.project import PROJECT_FILE, Project
from wellspring.records.data import Edition
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.lake.lake import Lake

BUILD_TIMEOUT_SECONDS = 3600
BUILD_DISTRIBUTIONS = ("wellspring", "dbt-core", "dbt-adapters", "dbt-duckdb", "duckdb", "pyarrow")
"""The distributions whose versions decide, beside edition and code, what comes out."""
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_BOUNDS = (datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


class BuildOutcome(NamedTuple):
    """A built edition. leaks: `table.column` that knew the future; fresh: whether this call made the edition."""

    edition: Edition
    leaks: tuple[str, ...]
    newly_built: bool


def transform_edition(lake: Lake, project: Project, landed: Edition, *, step: Recorder) -> BuildOutcome:
    """Build from exactly one landed edition and publish it; the same edition, code and tools change nothing.

    A leak stops nothing here: the gate refuses models that use such a column. Raises ProjectError for a dbt project
    that does not run, Refused when its tests find something or when readers are past this edition already.
    """
    if landed.level != "landed":
        raise Refused(f"edition {landed.id} is a built one", fix="build from a landed edition")
    folder = project.source_paths.get("dbt")
    if folder is None or not (folder / "dbt_project.yml").is_file():
        raise ProjectError(
            f"{project.root / PROJECT_FILE} names no dbt project",
            fix="add a [dbt] section, and dbt_project.yml in its folder",
        )
    code, tools = code_digest(folder), _tool_versions()
    if unchanged := _current_build(lake, landed, code, tools):
        return unchanged
    _refuse_older_edition(lake, landed)
    inputs = [
        Ref(name=landed.subject, digest=editions.edition_digest(landed)),
        Ref(name=f"dbt:{project.name}", digest=code),
    ]
    with _scratch_folder(lake.built_tables.folder) as scratch:
        with step("transform", f"dbt:{project.name}", inputs=inputs) as act:
            sources = _source_tables(lake, landed, scratch)
            audit_instants = choose_audit_instants(sources)
            build_result = _require_success(
                run_in_child(
                    BuildJob(
                        project_dir=str(folder),
                        scratch_dir=str(scratch),
                        sources=sources,
                        audit_instants=audit_instants,
                    )
                ),
                landed,
            )
            tables = {item.name: _read_audited(item, scratch) for item in build_result.tables}
            leaks, audited = _find_leaks(build_result, audit_instants, scratch)
            rows: dict[str, JsonValue] = {item.name: item.rows for item in build_result.tables}
            act.add_facts(
                rows=rows,
                passed_tests=build_result.passed_tests,
                warned_tests=list[JsonValue](build_result.warned_tests),
                tools=tools,
            )
            act.add_facts(audit_instants=list[JsonValue](audit_instants), leaks=list[JsonValue](leaks), audited=audited)
        properties = {"landed": landed.id, "code": code, "tools": tools, "leaks": ",".join(leaks)}
        written = [
            lake.built_tables.write_table(table.name, tables[table.name], _sort_columns(table), properties)
            for table in build_result.tables
        ]
    edition = editions.build_edition(
        level="built",
        parent=landed.id,
        tables=[*landed.tables, *(snapshot for snapshot, _ in written)],
        drops=(),
        tenant=lake.tenant,
        known_since=lake.clock.now(),
    )
    outputs = [ref for _, ref in written]
    facts: dict[str, JsonValue] = {"leaks": list[JsonValue](leaks), "audited": audited}
    lake.built_tables.publish(edition, inputs=inputs, outputs=outputs, facts=facts, step=step)
    return BuildOutcome(edition, leaks, True)


def run_in_child(job: BuildJob) -> BuildResult:
    """Have a child process do a job. Raises Unavailable when it dies or dbt is not installed."""
    if importlib.util.find_spec("dbt") is None:
        raise Unavailable("dbt is not installed", fix="pip install 'wellspring[dbt]'")
    # Nothing is inherited: no token, no proxy, no settings of another dbt.
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": job.scratch_dir,
        "TMPDIR": job.scratch_dir,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-m", dbt_process.__name__],
            input=job.model_dump_json().encode(),
            capture_output=True,
            cwd=job.scratch_dir,
            env=environment,
            timeout=BUILD_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(
            f"dbt was not done after {BUILD_TIMEOUT_SECONDS} seconds", fix="look for what holds it up"
        ) from None
    if process.returncode != 0 or not process.stdout:
        # The name of what it died of, and no word more: the words may quote a row.
        error_names = re.findall(rb"^([A-Za-z_.]*(?:Error|Exception|Interrupt))\b", process.stderr, re.MULTILINE)
        cause = error_names[-1].decode() if error_names else "no word"
        raise Unavailable(
            f"the process that runs dbt ended with {process.returncode} and {cause}",
            fix="free memory and disk, try again",
        )
    return BuildResult.model_validate_json(process.stdout)


# --- before -----------------------------------------------------------------------------------------------------------


def _tool_versions() -> str:
    """Name what makes the build, with its version; what is not installed is left out."""
    versions = {
        (distribution.metadata["Name"] or "").lower(): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return ", ".join(f"{name} {versions[name]}" for name in BUILD_DISTRIBUTIONS if name in versions)


def _current_build(lake: Lake, landed: Edition, code: Digest, tools: str) -> BuildOutcome | None:
    """Return what was built of this edition by this code and these tools, if that is what readers see."""
    current = lake.get_edition(level="built")
    if current is None or current.parent != landed.id:
        return None
    properties = lake.built_tables.snapshot_properties(current).values()
    if not properties or any((item.get("code"), item.get("tools")) != (code, tools) for item in properties):
        return None
    leaks = sorted(
        {leak for table_properties in properties for leak in table_properties.get("leaks", "").split(",") if leak}
    )
    return BuildOutcome(current, tuple(leaks), False)


def _refuse_older_edition(lake: Lake, landed: Edition) -> None:
    current = lake.get_edition(level="built")
    former = lake.get_edition(current.parent) if current is not None and current.parent else None
    if former is not None and former.known_since > landed.known_since:
        raise Refused(
            f"readers are at tables built from {former.id}, which is newer than {landed.id}",
            fix="build from the newest landed edition",
        )


@contextmanager
def _scratch_folder(lake_folder: Path) -> Generator[Path]:
    """Give a folder for one build, inside the lake's: tokens do not lie about in the machine's temporary files."""
    builds_folder = lake_folder / "builds"
    # One writer at a time: whatever lies here is what a killed build left.
    shutil.rmtree(builds_folder, ignore_errors=True)
    builds_folder.mkdir(parents=True, mode=0o700)
    try:
        yield Path(tempfile.mkdtemp(dir=builds_folder))
    finally:
        shutil.rmtree(builds_folder, ignore_errors=True)


def _source_tables(lake: Lake, landed: Edition, scratch: Path) -> dict[str, SourceTable]:
    """Name the files of each table as this edition holds it, and the columns that say when a row was recorded."""
    import pyarrow.parquet as pq

    source_tables: dict[str, SourceTable] = {}
    for table_snapshot in landed.tables:
        files = lake.table_files(landed, table_snapshot.table)
        if not files:
            # Every drop of it was empty: its columns are known all the same.
            empty = scratch / f"{table_snapshot.table}.parquet"
            pq.write_table(lake.read_table(landed, table_snapshot.table), empty)
            files = [str(empty)]
        source_tables[table_snapshot.table] = SourceTable(
            files=tuple(files),
            known_since_columns=known_since_columns(table_snapshot.table, map(pq.read_schema, files)),
        )
    return source_tables


# --- after ------------------------------------------------------------------------------------------------------------


def _require_success(build_result: BuildResult, landed: Edition) -> BuildResult:
    """Return an answer without problems. Raises ProjectError for code that does not run, Refused for failed tests."""
    if not build_result.problems:
        return build_result
    failures = [problem for problem in build_result.problems if problem.kind != "test"]
    messages = "\n".join(dict.fromkeys(failure.message for failure in (failures or build_result.problems)))
    if failures:
        raise ProjectError(f"dbt could not build edition {landed.id}:\n{messages}", fix="mend the dbt project")
    reasons = tuple(
        Reason(code="dbt_test", message=item.message, column=item.column, count=item.count)
        for item in build_result.problems
    )
    raise Refused(
        f"what dbt built from edition {landed.id} does not keep its tests; readers keep the last good edition:\n{messages}",
        fix="mend the model, or ask the supplier about the data",
        verdict=Verdict(subject=landed.subject, outcome="fail", reasons=reasons),
    )


def _sort_columns(table: ExportedTable) -> list[str]:
    """Name the columns that a table is sorted by; no two rows are equal in all of them."""
    return [*table.keys, *(name for name in ("known_since", "sequence") if name in table.columns)]


def _read_audited(table: ExportedTable, scratch: Path) -> pa.Table:
    """Read a table back from where dbt wrote it, and judge it. Raises Broken, or ProjectError for a bad table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.read_table(scratch / "full" / f"{table.name}.parquet")
    if rows.num_rows != table.rows or set(rows.column_names) != set(table.columns):
        raise CorruptedError(
            f"table {table.name} is not in its file as dbt built it", fix="check the disk, then build again"
        )
    problems = _unstorable_columns(rows)
    required_types = {"known_since": pa.timestamp("us", tz="UTC"), "sequence": pa.int64()}
    problems += [
        f"{name} is no {kind}"
        for name, kind in required_types.items()
        if name in table.columns and rows.schema.field(name).type != kind
    ]
    sort_columns = _sort_columns(table)
    problems += [f"{name} is empty in some rows" for name in sort_columns if rows[name].null_count]
    if not problems and rows.group_by(sort_columns).aggregate([]).num_rows != rows.num_rows:
        problems.append(f"two rows have the same {', '.join(sort_columns)}")
    if problems:
        raise ProjectError(f"model {table.name}: {'; '.join(problems)}", fix="mend the model")
    return rows


def _unstorable_columns(rows: pa.Table) -> list[str]:
    """Say which columns lake, digest and models would not hold as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kind

    plain_types = {
        pa.bool_(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string(), pa.date32(), pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
    }  # fmt: skip
    problems = [
        f"{field.name} is {field.type}; cast it"
        for field in rows.schema
        if field.type not in plain_types and not kind.is_decimal128(field.type)
    ]
    for field in rows.schema:
        if field.type not in plain_types or not kind.is_temporal(field.type):
            continue
        # Infinity is a number like any other in the file, and a year that nothing can show.
        days = field.type == pa.date32()
        bounds = [
            (year_bound - UNIX_EPOCH) // timedelta(days=1 if days else 0, microseconds=0 if days else 1)
            for year_bound in YEAR_BOUNDS
        ]
        numbers = rows[field.name].cast(pa.int32() if days else pa.int64())
        outside = pc.any(pc.or_(pc.less(numbers, bounds[0]), pc.greater(numbers, bounds[1])))
        if outside.as_py():
            problems.append(f"{field.name} holds days outside the years 1 to 9999")
    return problems


def _find_leaks(
    build_result: BuildResult, audit_instants: tuple[str, ...], scratch: Path
) -> tuple[tuple[str, ...], dict[str, JsonValue]]:
    """Compare each feature table with itself as built from what was known at each cut.

    Returns the columns that differ, and how many rows of each table were compared, at the cut that had the most.
    """
    leaks: set[str] = set()
    audited: dict[str, JsonValue] = {}
    for table in build_result.tables:
        if "known_since" not in table.columns:
            continue
        compared_rows = [0]
        for number, audit_instant in enumerate(audit_instants):
            full, past = (str(scratch / run / f"{table.name}.parquet") for run in ("full", f"audit-{number}"))
            report = compare_past(full, past, audit_instant=audit_instant, keys=table.keys)
            leaks |= {f"{table.name}.{column}" for column in report.leaks}
            compared_rows.append(report.rows)
        audited[table.name] = max(compared_rows)
    return tuple(sorted(leaks)), audited
