"""dbt on DuckDB: an in-memory database that spills to disk, sources from Parquet files, exports as Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

from wellspring.query.duckdb import dbt_plugin
from wellspring.query.duckdb.connection import name_types
from wellspring.query.duckdb.normalized_sql import normalize_select
from wellspring.query.port import BUILT_SCHEMA, LANDED_SCHEMA, DbtDialect, DbtRun, DbtSource
from wellspring.records.tables import ParquetTable

if TYPE_CHECKING:
    from wellspring.records.tables import TableInput

THREADS = 2
DIALECT = DbtDialect(
    sql_error_kinds=frozenset({"Parser Error", "Binder Error", "Catalog Error", "Permission Error"}),
    type_words=frozenset(
        "VARCHAR BIGINT INTEGER HUGEINT DOUBLE FLOAT DECIMAL BOOLEAN DATE TIME TIMESTAMP WITH ZONE INTERVAL".split()
    ),
    # DuckDB silently writes them to Parquet as floats.
    inexact_types=frozenset({"hugeint", "int128", "uhugeint", "uint128"}),
)


class DuckDbDbtBackend:
    """Run dbt through dbt-duckdb, with `dbt_plugin` as the only way to the sources."""

    dialect = DIALECT

    def prepare_source(self, table: TableInput, scratch: Path) -> dict[str, JsonValue]:
        """Return the files of a table; a table in memory is written to the scratch folder."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if isinstance(table, ParquetTable):
            # All files that are read may lack a column that later rows have.
            return {"files": list[JsonValue](table.files), "types": {**name_types(table.schema)}}
        scratch.joinpath("sources").mkdir(exist_ok=True)
        path = scratch / "sources" / f"{len(list((scratch / 'sources').iterdir()))}.parquet"
        pq.write_table(table if isinstance(table, pa.Table) else table.read_rows(), path)
        return {"files": [str(path)]}

    def list_source_files(self, location: dict[str, JsonValue]) -> tuple[Path, ...]:
        """Return the files of a location."""
        return tuple(Path(file) for file in cast("list[str]", location["files"]))

    def dbt_profile(self, run: DbtRun, sources: Mapping[str, DbtSource]) -> dict[str, Any]:
        """Return a target with its own in-memory database, output folder and spill folder."""
        folder = self._run_folder(run)
        folder.mkdir()
        config = {
            "sources": {
                name: {**source.location, "known_since_columns": list(source.known_since_columns)}
                for name, source in sources.items()
            },
            "audit_instant": run.audit_instant,
            "folder": str(folder),
            # SQL can read and write DuckDB's spill folder, so each run has its own.
            "spill": str(run.scratch / f"{run.name}-spill"),
        }
        plugin_entry = {"module": dbt_plugin.PLUGIN_MODULE, "alias": LANDED_SCHEMA, "config": config}
        return {
            "type": "duckdb",
            "path": ":memory:",
            "schema": BUILT_SCHEMA,
            "threads": THREADS,
            "plugins": [plugin_entry],
        }

    def export_table(self, relation: str, name: str, run: DbtRun, sort_columns: Sequence[str]) -> int:
        """Copy a table of the database that dbt has open to a Parquet file; equal rows give an equal file."""
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        environment: Any = DuckDBConnectionManager.env()
        cursor = environment.handle().cursor()
        order_sql = ", ".join(f'"{column}"' for column in sort_columns)
        target = self._export_path(name, run).replace("'", "''")
        select_sql = f"select * from {relation} order by {order_sql}"  # noqa: S608 (names of dbt's manifest)
        cursor.execute(f"copy ({select_sql}) to '{target}' (format parquet)")
        (rows,) = cursor.fetchone()
        return int(rows)

    def open_export(self, name: str, run: DbtRun) -> TableInput:
        """Open the Parquet file of a table."""
        import pyarrow.parquet as pq

        path = self._export_path(name, run)
        return ParquetTable(name, (path,), pq.read_schema(path))

    def normalize_sql(self, sql: str) -> str:
        """Return the parse tree of a SELECT as JSON."""
        return normalize_select(sql)

    def _run_folder(self, run: DbtRun) -> Path:
        return run.scratch / run.name

    def _export_path(self, name: str, run: DbtRun) -> str:
        return str(self._run_folder(run) / f"{name}.parquet")
