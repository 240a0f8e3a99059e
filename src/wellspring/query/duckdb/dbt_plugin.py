"""dbt-duckdb plugin of the child process: loads the Parquet files of one edition as the only sources of a build.

The plugin does not read the catalog, so no data is newer than the edition. It copies the sources into the build's own
database and then denies the connection all files except its output folder: DuckDB allows writing wherever it allows
reading, and the files contain rows recorded after the audit instant. A model's SQL can neither read nor overwrite them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wellspring.query.port import LANDED_SCHEMA

if TYPE_CHECKING:
    from dbt.adapters.duckdb.credentials import DuckDBCredentials
    from dbt.adapters.duckdb.utils import SourceConfig, TargetConfig

PLUGIN_MODULE = __name__


class Plugin:
    """Implements the protocol of dbt-duckdb's BasePlugin; it does not inherit, because importing dbt takes a second.

    plugin_config: `sources` (table -> {files, known_since_columns}), `audit_instant` (rows recorded later are left
    out) or None, `folder` (the output folder), `spill` (DuckDB's temporary folder).
    """

    def __init__(self, name: str, plugin_config: dict[str, Any], credentials: DuckDBCredentials | None = None) -> None:
        self.name = name
        self.creds = credentials
        self._config = plugin_config

    def update_connection_config(self, _creds: DuckDBCredentials | None, config: dict[str, Any]) -> None:
        """Set the options that must be set before the connection is open."""
        # Without these, DuckDB downloads extensions when SQL mentions s3:// or an unknown function.
        config.update(autoinstall_known_extensions=False, autoload_known_extensions=False)
        # SQL must not read Python variables of this process as tables.
        config.update(python_enable_replacements=False)

    def configure_connection(self, conn: Any) -> None:
        """Copy the sources into the database, then deny access to all other files and lock the configuration."""
        sources: dict[str, dict[str, Any]] = self._config["sources"]
        conn.execute("set timezone = 'UTC'")
        conn.execute(f"set temp_directory = {_sql_literal(self._config['spill'])}")
        conn.execute(f"create schema {LANDED_SCHEMA}")
        for name, source in sources.items():
            table = f"{LANDED_SCHEMA}.{_sql_identifier(name)}"
            conn.execute(f"create table {table} as {self._select_source(source)}")
            for column, sql_type in source.get("types", {}).items():
                conn.execute(f"alter table {table} add column if not exists {_sql_identifier(column)} {sql_type}")
        conn.execute(f"set allowed_directories = [{_sql_literal(self._config['folder'].rstrip('/') + '/')}]")
        conn.execute("set enable_external_access = false")
        conn.execute("set lock_configuration = true")

    def configure_cursor(self, cursor: Any) -> None:
        """Do nothing: cursors share the tables of the database."""

    def load(self, source_config: SourceConfig) -> Any:
        """Refuse a `plugin:` in the project's sources: every source is already a table.

        dbt-duckdb's plugins refuse with NotImplementedError; its text is reported as a problem of the build.
        """
        raise NotImplementedError(
            f"remove the plugin from source {source_config.identifier}: sources are loaded without one"
        )

    def store(self, target_config: TargetConfig) -> None:
        """Refuse external models, as in `load`: built tables are exported by their contracts."""
        raise NotImplementedError("a built table must be `materialized: table` with an enforced contract")

    def default_materialization(self) -> str:
        return "view"

    def _select_source(self, source: dict[str, Any]) -> str:
        # Earlier files of a table may lack columns of later files; these columns are read as null.
        files = ", ".join(map(_sql_literal, source["files"]))
        options = "union_by_name = true, hive_partitioning = false"
        select_sql = f"select * from read_parquet([{files}], {options})"  # noqa: S608 (quoted)
        audit_instant = self._config["audit_instant"]
        if audit_instant is None:
            return select_sql
        columns = ", ".join(map(_sql_identifier, source["known_since_columns"]))
        return f"{select_sql} where coalesce({columns}) <= timestamptz {_sql_literal(audit_instant)}"


def _sql_literal(value: str) -> str:
    """Quote a value as an SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


def _sql_identifier(value: str) -> str:
    """Quote a name as an SQL identifier."""
    return '"' + value.replace('"', '""') + '"'
