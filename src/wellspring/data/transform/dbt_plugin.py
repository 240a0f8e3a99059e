"""What dbt-duckdb loads in the child: the sources of a build are the Parquet files of one edition, and nothing else.

No catalog is asked, so nothing can be newer than the edition. The sources are copied into the build's own database, and
then the connection is shut to every file but what it may write: DuckDB lets whoever may read a file write it too, and a
file of the edition holds what was recorded after a cut. So no SQL of a model reads or overwrites one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbt.adapters.duckdb.credentials import DuckDBCredentials
    from dbt.adapters.duckdb.utils import SourceConfig, TargetConfig

LANDED_SCHEMA = "landed"
"""The schema of dbt's sources: `source('landed', 'medical_claim')`."""
PLUGIN_MODULE = __name__


class Plugin:
    """Speaks the protocol of dbt-duckdb's BasePlugin; it does not inherit, for importing dbt takes a second.

    plugin_config: `sources` (table -> {files, known: the columns that say when a row was known}), `cut` (an
    instant; rows recorded after it are not there) or None, `folder` (where the tables may be written to), `spill`.
    """

    def __init__(self, name: str, plugin_config: dict[str, Any], credentials: DuckDBCredentials | None = None) -> None:
        self.name = name
        self.creds = credentials
        self._config = plugin_config

    def update_connection_config(self, _creds: DuckDBCredentials | None, config: dict[str, Any]) -> None:
        """Say what can only be said before the connection is open."""
        # Without these DuckDB tries a download as soon as SQL mentions s3:// or an unknown function.
        config.update(autoinstall_known_extensions=False, autoload_known_extensions=False)
        # A Python variable of ours whose name the SQL happens to use is not a table.
        config.update(python_enable_replacements=False)

    def configure_connection(self, conn: Any) -> None:
        """Copy the sources in, then shut the door."""
        sources: dict[str, dict[str, Any]] = self._config["sources"]
        conn.execute("set timezone = 'UTC'")
        conn.execute(f"set temp_directory = {_sql_literal(self._config['spill'])}")
        conn.execute(f"create schema {LANDED_SCHEMA}")
        for name, source in sources.items():
            conn.execute(f"create table {LANDED_SCHEMA}.{_sql_identifier(name)} as {self._select_source(source)}")
        conn.execute(f"set allowed_directories = [{_sql_literal(self._config['folder'].rstrip('/') + '/')}]")
        conn.execute("set enable_external_access = false")
        conn.execute("set lock_configuration = true")

    def configure_cursor(self, cursor: Any) -> None:
        """Nothing is lost in the copy of a connection: tables stand in the database."""

    def load(self, source_config: SourceConfig) -> Any:
        """Refuse: a source is a table already, so a `plugin:` in the project's sources has no meaning here."""
        raise NotImplementedError(f"take the plugin out of source {source_config.identifier}: it is there without one")

    def store(self, target_config: TargetConfig) -> None:
        """Refuse: what is built leaves by its contract, not by an external model."""
        raise NotImplementedError("a built table is `materialized: table` with an enforced contract")

    def default_materialization(self) -> str:
        return "view"

    def _select_source(self, source: dict[str, Any]) -> str:
        # Files of one table may lack columns that later ones have; they read as null.
        files = ", ".join(map(_sql_literal, source["files"]))
        select_sql = f"select * from read_parquet([{files}], union_by_name = true, hive_partitioning = false)"  # noqa: S608 (quoted)
        audit_instant, known_since_columns = (
            self._config["audit_instant"],
            ", ".join(map(_sql_identifier, source["known_since_columns"])),
        )
        return (
            select_sql
            if audit_instant is None
            else f"{select_sql} where coalesce({known_since_columns}) <= timestamptz {_sql_literal(audit_instant)}"
        )


def _sql_literal(value: str) -> str:
    """Write a value as SQL text."""
    return "'" + value.replace("'", "''") + "'"


def _sql_identifier(value: str) -> str:
    """Write a name as SQL."""
    return '"' + value.replace('"', '""') + '"'
