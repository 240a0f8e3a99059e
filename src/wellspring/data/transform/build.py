"""Transformation of one landed edition into a built edition with dbt, including the leakage audit.

dbt runs in a process of project code (`dbt_process`) over the files of the landed edition only, and writes Parquet
files to a scratch folder. The build is repeated with the rows recorded up to some earlier audit instants: a column
whose past values differ between the builds uses future information and is reported as a leak. Then the tables are
checked, written to the lake, read back, and published together with the landed tables.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue, ValidationError

from wellspring.data.transform.dbt_process import BuildJob, BuildResult, ExportedTable, list_runs
from wellspring.data.transform.leakage import (
    choose_audit_instants,
    find_landing_time_tables,
    find_leaks,
    known_since_columns,
)
from wellspring.data.transform.table_versions import compute_table_versions
from wellspring.data.transform.transform_sources import TransformSources
from wellspring.errors import CorruptedError, ProjectError, Refused, Unavailable, package_missing
from wellspring.lake import editions
from wellspring.lake.built_tables import CODE_PROPERTY, NEWEST, PURPOSE_PROPERTY, VERSION_PROPERTY, WARM
from wellspring.project import PROJECT_FILE, Project
from wellspring.query.port import DbtRun, DbtSource
from wellspring.records.lake import Edition
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.runtime.project_code import ProjectCode, ProjectCodeFiles, require_plain_files, unreadable_answer

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.lake.lake import Lake
    from wellspring.query.port import DbtBackend, QueryEngine
    from wellspring.records.tables import TableInput

BUILD_TIMEOUT_SECONDS = 3600
BUILD_PACKAGES = ("wellspring", "dbt-core", "dbt-adapters")
"""Distributions whose versions, next to those of the engine, the edition and the code, determine the output."""
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_BOUNDS = (datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


class BuildOutcome(NamedTuple):
    """A built edition, its leaked columns (`table.column`), whether this call built it, and the tables' versions."""

    edition: Edition
    leaks: tuple[str, ...]
    newly_built: bool
    versions: Mapping[str, Digest] = MappingProxyType({})


class Transform(NamedTuple):
    """The dbt project of a build. digest: of its source files; is_newest: False for that of an earlier release."""

    digest: Digest
    is_newest: bool = True


def save_transform(project: Project, sources: TransformSources) -> Transform:
    """Keep the project's own dbt project as it is on disk, and return it. Raises ProjectError without one."""
    folder = project.source_paths.get("dbt")
    if folder is None or not (folder / "dbt_project.yml").is_file():
        raise ProjectError(
            f"{project.root / PROJECT_FILE} does not name a dbt project",
            fix="add a [dbt] section, and dbt_project.yml in its folder",
        )
    return Transform(sources.save(folder))


def transform_edition(
    lake: Lake,
    project: Project,
    landed: Edition,
    transform: Transform,
    *,
    sources: TransformSources,
    engine: QueryEngine,
    project_code: ProjectCode,
    step: Recorder,
) -> BuildOutcome:
    """Build a landed edition and publish the result; the same edition, code and tools change nothing.

    sources: where the code of the transform is kept. Leaks do not fail the build: the gate refuses models that use a
    leaked column. Raises ProjectError for a dbt project that does not run, Refused when its tests fail or when a newer
    landed edition was already built.
    """
    if landed.level != "landed":
        raise Refused(f"edition {landed.id} is a built edition", fix="build from a landed edition")
    backend = _require_backend(engine)
    code, tools = transform.digest, _tool_versions(engine)
    if unchanged := _current_build(lake, landed, transform, tools):
        return unchanged
    if transform.is_newest:
        _refuse_older_edition(lake, landed)
    inputs = [
        Ref(name=landed.subject, digest=editions.edition_digest(landed)),
        Ref(name=f"dbt:{project.name}", digest=code),
    ]
    with project_code.open_folder("source") as folder, project_code.open_folder("dbt") as scratch:
        sources.restore(code, folder)
        with step("transform", f"dbt:{project.name}", inputs=inputs) as act:
            landed_tables = {table.table: lake.open_table(landed, table.table) for table in landed.tables}
            audit_instants = choose_audit_instants(landed_tables, engine)
            runs = list_runs(scratch, audit_instants)
            dbt_sources = _prepare_sources(landed_tables, scratch, backend)
            build_result = _require_success(
                run_build_process(
                    BuildJob(
                        engine=engine.capabilities.engine,
                        engine_options=project.query.options,
                        project_dir=str(folder),
                        scratch_dir=str(scratch),
                        sources=dbt_sources,
                        audit_instants=audit_instants,
                    ),
                    project_code,
                    readable=tuple(
                        path for source in dbt_sources.values() for path in backend.list_source_files(source.location)
                    ),
                    trace=act.trace,
                ),
                landed,
            )
            _check_answer(build_result, landed_tables, runs, backend)
            tables = {
                table.name: _check_built_table(table, _read_rows(backend.open_export(table.name, runs[0])))
                for table in build_result.tables
            }
            leaks, audited_rows = find_leaks(build_result.tables, runs, engine=engine, backend=backend)
            audited: dict[str, JsonValue] = {**audited_rows}
            rows: dict[str, JsonValue] = {table.name: table.rows for table in build_result.tables}
            act.add_facts(
                rows=rows,
                passed_tests=build_result.passed_tests,
                warned_tests=list[JsonValue](build_result.warned_tests),
                tools=tools,
            )
            act.add_facts(audit_instants=list[JsonValue](audit_instants), leaks=list[JsonValue](leaks), audited=audited)
        models_by_table = {table.name: table.model for table in build_result.tables}
        schemas = {name: landed_table.schema for name, landed_table in landed_tables.items()}
        landing_time = find_landing_time_tables(models_by_table, build_result.models, schemas)
        versions = compute_table_versions(
            build_result.models,
            models_by_table,
            backend.normalize_sql,
            hooks=code if build_result.has_hooks else None,
        )
        purpose = NEWEST if transform.is_newest else WARM
        properties = {
            "landed": landed.id, CODE_PROPERTY: code, "tools": tools, "leaks": ",".join(leaks),
            PURPOSE_PROPERTY: purpose,
        }  # fmt: skip
        written = [
            lake.built_tables.write_table(
                table.name,
                tables[table.name],
                _sort_columns(table),
                {**properties, VERSION_PROPERTY: versions[table.name]},
            )
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
    facts: dict[str, JsonValue] = {
        "leaks": list[JsonValue](leaks), "audited": audited, PURPOSE_PROPERTY: purpose, "versions": {**versions},
        "landing_time": list[JsonValue](landing_time),
    }  # fmt: skip
    lake.built_tables.publish(edition, inputs=inputs, outputs=outputs, facts=facts, step=step)
    return BuildOutcome(edition, leaks, True, versions)


def run_build_process(
    job: BuildJob, project_code: ProjectCode, *, readable: tuple[Path, ...], trace: str
) -> BuildResult:
    """Run a build job in a process of project code, which finds the trace in its environment as TRACEPARENT.

    readable: where the sources are. Raises Unavailable when the process fails or dbt is not installed, and ProjectError
    when it answers or leaves something else than a build does: macros of the project run in it.
    """
    if importlib.util.find_spec("dbt") is None:
        raise package_missing("dbt", extra="dbt")
    run = project_code.run(
        "dbt",
        job.model_dump_json().encode(),
        ProjectCodeFiles(Path(job.scratch_dir), (Path(job.project_dir), *readable)),
        timeout=BUILD_TIMEOUT_SECONDS,
        trace=trace,
    )
    if run.status is None:
        raise Unavailable(
            f"dbt did not finish within {BUILD_TIMEOUT_SECONDS} seconds", fix="check the load and memory of the machine"
        )
    if run.status != 0 or not run.output:
        # Only the name of the error: its message may quote a row.
        error_names = re.findall(rb"^([A-Za-z_.]*(?:Error|Exception|Interrupt))\b", run.errors, re.MULTILINE)
        cause = error_names[-1].decode() if error_names else "no error name"
        raise Unavailable(
            f"the dbt process exited with code {run.status} and {cause}", fix="free memory and disk, then try again"
        )
    require_plain_files(Path(job.scratch_dir))
    try:
        return BuildResult.model_validate_json(run.output)
    except ValidationError:
        raise unreadable_answer("the dbt project") from None


# --- before -----------------------------------------------------------------------------------------------------------


def _require_backend(engine: QueryEngine) -> DbtBackend:
    if engine.dbt is None:
        raise ProjectError(
            f"dbt cannot build on {engine.capabilities.engine}",
            fix="choose another engine in [query] of wellspring.toml",
        )
    return engine.dbt


def _tool_versions(engine: QueryEngine) -> str:
    """List the installed packages that determine the output, with their versions, as text."""
    versions = {
        (distribution.metadata["Name"] or "").lower(): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    packages = (*BUILD_PACKAGES, *engine.capabilities.packages, "pyarrow")
    return ", ".join(f"{name} {versions[name]}" for name in packages if name in versions)


def _current_build(lake: Lake, landed: Edition, transform: Transform, tools: str) -> BuildOutcome | None:
    """Return the edition that was built last from this edition, code and tools, or None.

    For the newest transform it must be the one that readers get: code that was put back is built again.
    """
    code = transform.digest
    current = lake.get_edition(level="built") if transform.is_newest else lake.built_tables.find_build(landed, code)
    if current is None or current.parent != landed.id:
        return None
    tables = lake.built_tables.snapshot_properties(current)
    properties = tables.values()
    if not properties or any(
        (values.get(CODE_PROPERTY), values.get("tools")) != (code, tools) for values in properties
    ):
        return None
    leaks = sorted(
        {leak for table_properties in properties for leak in table_properties.get("leaks", "").split(",") if leak}
    )
    versions = {name: values.get(VERSION_PROPERTY, "") for name, values in tables.items()}
    return BuildOutcome(current, tuple(leaks), False, versions)


def _refuse_older_edition(lake: Lake, landed: Edition) -> None:
    current = lake.get_edition(level="built")
    former = lake.get_edition(current.parent) if current is not None and current.parent else None
    if former is not None and former.known_since > landed.known_since:
        raise Refused(
            f"the current tables were built from {former.id}, which is newer than {landed.id}",
            fix="build from the newest landed edition",
        )


def _prepare_sources(tables: Mapping[str, TableInput], scratch: Path, backend: DbtBackend) -> dict[str, DbtSource]:
    """Make the tables readable for the process, with the recording columns of each."""
    return {
        name: DbtSource(
            location=backend.prepare_source(table, scratch),
            known_since_columns=known_since_columns(name, table.schema),
        )
        for name, table in tables.items()
    }


# --- after ------------------------------------------------------------------------------------------------------------


def _require_success(build_result: BuildResult, landed: Edition) -> BuildResult:
    """Return a result without problems. Raises ProjectError for code that does not run, Refused for failed tests."""
    if not build_result.problems:
        return build_result
    failures = [problem for problem in build_result.problems if problem.kind != "test"]
    messages = "\n".join(dict.fromkeys(failure.message for failure in (failures or build_result.problems)))
    if failures:
        raise ProjectError(f"dbt could not build edition {landed.id}:\n{messages}", fix="fix the dbt project")
    reasons = tuple(
        Reason(code="dbt_test", message=problem.message, column=problem.column, count=problem.count)
        for problem in build_result.problems
    )
    raise Refused(
        f"the build of edition {landed.id} fails its dbt tests; the last good edition stays current:\n{messages}",
        fix="fix the model, or ask the supplier about the data",
        verdict=Verdict(subject=landed.subject, outcome="fail", reasons=reasons),
    )


def _check_answer(
    build_result: BuildResult, landed_tables: Mapping[str, TableInput], runs: Sequence[DbtRun], backend: DbtBackend
) -> None:
    """Check again what the process has checked, which code of the project may have changed. Raises ProjectError."""
    import pyarrow as pa

    names = [table.name for table in build_result.tables]
    for table in build_result.tables:
        if names.count(table.name) != 1 or table.name in landed_tables or not set(table.keys) <= set(table.columns):
            raise unreadable_answer("the dbt project")
        for run in runs:
            try:
                backend.open_export(table.name, run)
            except (OSError, pa.ArrowException):
                raise ProjectError(
                    f"the file of table {table.name} cannot be read: a macro or a hook may have changed it",
                    fix="remove the code that writes files",
                ) from None


def _sort_columns(table: ExportedTable) -> list[str]:
    """Return the columns that a table is sorted by; they identify a row."""
    return [*table.keys, *(name for name in ("known_since", "sequence") if name in table.columns)]


def _read_rows(table: TableInput) -> pa.Table:
    import pyarrow as pa

    return table if isinstance(table, pa.Table) else table.read_rows()


def _check_built_table(table: ExportedTable, rows: pa.Table) -> pa.Table:
    """Check a table that dbt wrote. Raises CorruptedError, or ProjectError for an invalid table."""
    import pyarrow as pa

    if rows.num_rows != table.rows or set(rows.column_names) != set(table.columns):
        raise CorruptedError(
            f"the rows of table {table.name} differ from what dbt built", fix="check the disk, then build again"
        )
    problems = _unstorable_columns(rows)
    required_types = {"known_since": pa.timestamp("us", tz="UTC"), "sequence": pa.int64()}
    problems += [
        f"{name} is not {kind}"
        for name, kind in required_types.items()
        if name in table.columns and rows.schema.field(name).type != kind
    ]
    sort_columns = _sort_columns(table)
    problems += [f"{name} is null in some rows" for name in sort_columns if rows[name].null_count]
    if not problems and rows.group_by(sort_columns).aggregate([]).num_rows != rows.num_rows:
        problems.append(f"two rows have the same {', '.join(sort_columns)}")
    if problems:
        raise ProjectError(f"model {table.name}: {'; '.join(problems)}", fix="fix the model")
    return rows


def _unstorable_columns(rows: pa.Table) -> list[str]:
    """Describe the columns whose types or values the lake, the digest or the models do not support."""
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
        # A file stores infinity as a number, whose year cannot be displayed.
        days = field.type == pa.date32()
        bounds = [
            (year_bound - UNIX_EPOCH) // timedelta(days=1 if days else 0, microseconds=0 if days else 1)
            for year_bound in YEAR_BOUNDS
        ]
        numbers = rows[field.name].cast(pa.int32() if days else pa.int64())
        outside = pc.any(pc.or_(pc.less(numbers, bounds[0]), pc.greater(numbers, bounds[1])))
        if outside.as_py():
            problems.append(f"{field.name} has dates outside the years 1 to 9999")
    return problems
