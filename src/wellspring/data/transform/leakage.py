"""Leakage audit: a feature table must have the same past, whether later rows are in the lake or not.

The build is repeated with the rows recorded up to some audit instants; a column whose past values differ between the
builds uses future information. The audit finds nothing in a table that lies entirely on one side of every instant. The
instants are therefore chosen from the recording days of each table, independent of the number of rows that a backfill
loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from wellspring.data.transform.table_versions import CompiledModel, list_upstream
from wellspring.errors import ProjectError
from wellspring.records.contracts import RECORDED_AT
from wellspring.records.features import KNOWN_SINCE_COLUMN
from wellspring.records.record import format_instant

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.data.transform.dbt_process import ExportedTable
    from wellspring.query.port import DbtBackend, DbtRun, QueryEngine
    from wellspring.records.tables import TableInput

RECORDING_COLUMNS = (RECORDED_AT, "known_since")
"""Columns with the instant at which a row was recorded: by its supplier, if the contract has it, else on landing."""
AUDIT_QUANTILE = 0.7
"""Share of a table's recording days that lie before its audit instant."""
MAX_AUDIT_INSTANTS = 2
"""Each audit instant costs one full build."""
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LeakageReport(NamedTuple):
    """The result of an audit. leaks: `table.column`. audited_rows: by table, the most rows compared at one instant."""

    leaks: tuple[str, ...]
    audited_rows: dict[str, int]


def known_since_columns(table: str, schema: pa.Schema) -> tuple[str, ...]:
    """Return a table's recording columns. Raises ProjectError when one is not a timestamp or a date."""
    import pyarrow.types as kind

    names = tuple(name for name in RECORDING_COLUMNS if name in schema.names)
    for name in sorted(names):
        column_type = schema.field(name).type
        if not kind.is_timestamp(column_type) and not kind.is_date(column_type):
            raise ProjectError(
                f"column {name} of table {table} is {column_type}; it must be the instant at which a row was recorded",
                fix="declare it as a timestamp in its contract, or rename it",
            )
    return names


def find_landing_time_tables(
    tables: Mapping[str, str], models: Sequence[CompiledModel], schemas: Mapping[str, pa.Schema]
) -> tuple[str, ...]:
    """List the built tables whose landed tables all lack `recorded_at`: their rows count as known when they landed.

    tables: the name of a built table -> the name of its model. schemas: of the landed tables.
    """
    models_by_name = {model.name: model for model in models}
    listed: list[str] = []
    for table, name in tables.items():
        upstream = list_upstream(name, models_by_name)
        landed = {source.rpartition(".")[2] for source in upstream if source.startswith("source.")} & schemas.keys()
        if landed and all(RECORDED_AT not in schemas[source].names for source in landed):
            listed.append(table)
    return tuple(sorted(listed))


def choose_audit_instants(tables: Mapping[str, TableInput], engine: QueryEngine) -> tuple[str, ...]:
    """Choose at most two audit instants; none when no landed table has rows of more than one instant.

    Each table with several recording instants proposes one. The instant that divides the most tables is chosen (of
    several, the middle one), then one more for the tables that it does not divide.
    """
    instants_by_table = {
        name: instants
        for name, table in tables.items()
        if len(instants := engine.recording_instants(table, known_since_columns(name, table.schema))) > 1
    }
    candidates = sorted(
        {
            instants[min(int(AUDIT_QUANTILE * len(instants)), len(instants) - 2)]
            for instants in instants_by_table.values()
        }
    )
    selected: list[int] = []
    undivided = set(instants_by_table)
    while undivided and len(selected) < MAX_AUDIT_INSTANTS:
        divided = {
            instant: {name for name in undivided if instants_by_table[name][0] <= instant < instants_by_table[name][-1]}
            for instant in candidates
        }
        most_divided = max(map(len, divided.values()))
        best = [candidate for candidate in candidates if len(divided[candidate]) == most_divided]
        selected.append(best[len(best) // 2])
        undivided -= divided[selected[-1]]
    return tuple(format_instant(UNIX_EPOCH + timedelta(microseconds=instant)) for instant in selected)


def find_leaks(
    tables: Iterable[ExportedTable], runs: Sequence[DbtRun], *, engine: QueryEngine, backend: DbtBackend
) -> LeakageReport:
    """Compare each feature table of the full build with its builds at the audit instants. runs: the full one first."""
    full_run, *audit_runs = runs
    leaks: set[str] = set()
    audited_rows: dict[str, int] = {}
    for table in tables:
        if KNOWN_SINCE_COLUMN not in table.columns:
            continue
        compared_rows = [0]
        for audit_run in audit_runs:
            full, past = backend.open_export(table.name, full_run), backend.open_export(table.name, audit_run)
            comparison = engine.compare_past(full, past, audit_instant=str(audit_run.audit_instant), keys=table.keys)
            leaks |= {f"{table.name}.{column}" for column in comparison.differing}
            compared_rows.append(comparison.rows)
        audited_rows[table.name] = max(compared_rows)
    return LeakageReport(tuple(sorted(leaks)), audited_rows)
