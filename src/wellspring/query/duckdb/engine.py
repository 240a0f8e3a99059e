"""The operations of the query engine on DuckDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.query.duckdb import statements
from wellspring.query.duckdb.connection import run_select, stream_select
from wellspring.query.duckdb.dbt_backend import DuckDbDbtBackend
from wellspring.query.port import Capabilities, PastComparison, QueryEngineAdapter, RowCounts, joined_column_name
from wellspring.records.features import KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN
from wellspring.settings import SettingsSection

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.records.features import FeatureViewSpec
    from wellspring.records.tables import TableInput

DAY_MICROSECONDS = 24 * 60 * 60 * 1_000_000


class DuckDbSettings(SettingsSection):
    """[query.options] of the engine `duckdb`. threads: limit for one query; all cores by default."""

    threads: int | None = None


class DuckDbEngine:
    """Run each operation as one statement in a database of its own, in memory."""

    capabilities = Capabilities("duckdb", packages=("dbt-duckdb", "duckdb"), reads_files=True)

    def __init__(self, *, threads: int | None = None) -> None:
        self.dbt = DuckDbDbtBackend()
        self._threads = threads

    def row_counts(self, view: FeatureViewSpec, table: TableInput) -> RowCounts:
        counts = self._select(statements.count_versions(view), {"rows": table}).to_pylist()[0]
        return RowCounts(counts["rows"], counts["unversioned"], counts["rows"] - counts["versions"])

    def point_in_time_join(
        self,
        spine: pa.Table,
        views: Sequence[FeatureViewSpec],
        tables: Mapping[str, TableInput],
        *,
        instant_column: str,
    ) -> pa.Table:
        import pyarrow as pa

        keys = dict.fromkeys(key for view in views for key in view.keys)
        position_column = _unused_name("position", keys)
        query_inputs: dict[str, TableInput] = {
            "spine": pa.table(
                {
                    position_column: pa.array(range(spine.num_rows), pa.int64()),
                    **{key: spine[key] for key in keys},
                    # Microseconds since 1970: the comparison does not depend on the engine's time zone.
                    "instant_": spine[instant_column].cast(pa.timestamp("us", "UTC")).cast(pa.int64()),
                }
            ),
            **{f"t{number}": tables[view.table] for number, view in enumerate(views)},
        }
        joined = self._select(statements.join_views_as_of(views, position_column), query_inputs)
        for view in views:
            joined = _with_timestamps(joined, joined_column_name(view.name, KNOWN_SINCE_COLUMN))
        return joined

    def latest_rows(self, view: FeatureViewSpec, table: TableInput) -> pa.Table:
        return _with_timestamps(self._select(statements.latest_per_key(view), {"rows": table}), KNOWN_SINCE_COLUMN)

    def rows_at_version(self, view: FeatureViewSpec, table: TableInput, versions: pa.Table) -> pa.Table:
        import pyarrow as pa

        lookup_table = pa.table(
            {
                "position_": versions["position"],
                "instant_": versions[KNOWN_SINCE_COLUMN].cast(pa.timestamp("us", "UTC")).cast(pa.int64()),
                "sequence_": versions[SEQUENCE_COLUMN],
                **{f"{name}_": versions[name] for name in view.keys},
            }
        )
        return self._select(statements.match_versions(view), {"versions": lookup_table, "rows": table})

    def matching_rows(
        self, table: TableInput, keys: TableInput, *, columns: tuple[str, ...], scratch: Path
    ) -> pa.RecordBatchReader:
        sql = statements.match_keys(keys.schema.names, columns)
        return stream_select(sql, {"rows": table, "keys": keys}, scratch=scratch, threads=self._threads)

    def compare_past(
        self, full: TableInput, past: TableInput, *, audit_instant: str, keys: tuple[str, ...]
    ) -> PastComparison:
        if missing := sorted(set(full.schema.names) - set(past.schema.names)):
            return PastComparison(missing, 0)
        fields = [field for field in full.schema if field.name not in {*keys, KNOWN_SINCE_COLUMN}]
        sql = statements.count_differences(fields, keys, audit_instant)
        rows, *differing = (
            column[0].as_py() for column in self._select(sql, {"full_build": full, "past_build": past}).columns
        )
        names = [KNOWN_SINCE_COLUMN, *(field.name for field in fields)]
        return PastComparison(sorted(name for name, count in zip(names, differing, strict=True) if count), rows)

    def recording_instants(self, table: TableInput, columns: Sequence[str]) -> list[int]:
        instants: list[int] = []
        for unit in (DAY_MICROSECONDS, 1):
            rows = self._select(statements.last_instants(columns, unit), {"rows": table})
            instants = rows["instant"].to_pylist()
            if len(instants) != 1:
                break
        return instants

    def _select(self, sql: str, tables: Mapping[str, TableInput]) -> pa.Table:
        return run_select(sql, tables, threads=self._threads)


def _with_timestamps(table: pa.Table, name: str) -> pa.Table:
    """Convert a column of microseconds since 1970 to timestamps."""
    import pyarrow as pa

    instants = table[name].cast(pa.timestamp("us", "UTC"))
    return table.set_column(table.column_names.index(name), name, instants)


def _unused_name(name: str, taken: Mapping[str, None]) -> str:
    while name in taken:
        name += "_"
    return name


def open_duckdb_engine(settings: DuckDbSettings) -> DuckDbEngine:
    """Open an engine; it starts nothing and holds no connection."""
    return DuckDbEngine(threads=settings.threads)


DUCKDB = QueryEngineAdapter(DuckDbSettings, open_duckdb_engine, packages=("duckdb", "pyarrow"))
