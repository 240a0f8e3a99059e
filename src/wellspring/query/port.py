"""Define a query engine as a protocol: operations over immutable tables, and dbt builds; no SQL text crosses it.

An engine never writes to the lake. A timestamp is in UTC with microseconds. A feature table has, besides its keys and
features, the columns `known_since` and `sequence`; of two rows of one key, the greater (known_since, sequence) wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pydantic import BaseModel, JsonValue

from wellspring.records.record import Frozen

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.records.features import FeatureViewSpec
    from wellspring.records.tables import TableInput

FLOAT_TOLERANCE = 1e-9
"""Relative difference up to which `compare_past` takes two floats as equal: a sum depends on the order of addition."""
LANDED_SCHEMA, BUILT_SCHEMA = "landed", "built"
"""The schemas of a dbt build: of its sources, as in `source('landed', 'orders')`, and of its tables."""
FULL_RUN = "full"
"""Name of the dbt run over all rows."""


class Capabilities(NamedTuple):
    """What an engine is and can do.

    engine: its registered name. packages: distributions whose versions, with the data and the code, determine a result.
    reads_files: it reads a `ParquetTable` from its files, without loading it into memory first.
    """

    engine: str
    packages: tuple[str, ...]
    reads_files: bool


class RowCounts(NamedTuple):
    """Counts over the rows of a feature table without a null key.

    unversioned: rows with a null known_since or sequence. repeated: rows with the key, known_since and sequence of
    another row.
    """

    rows: int
    unversioned: int
    repeated: int


class PastComparison(NamedTuple):
    """The columns that differ (`known_since` when rows were added or removed), and the number of compared rows.

    With zero rows the comparison shows nothing about the table.
    """

    differing: list[str]
    rows: int


class QueryEngine(Protocol):
    """The operations of an engine. An error names no value of the data."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def dbt(self) -> DbtBackend | None:
        """How dbt builds on this engine; None if it cannot."""
        ...

    def row_counts(self, view: FeatureViewSpec, table: TableInput) -> RowCounts:
        """Count the rows of a view's table that have no version, or the version of another row."""
        ...

    def point_in_time_join(
        self,
        spine: pa.Table,
        views: Sequence[FeatureViewSpec],
        tables: Mapping[str, TableInput],
        *,
        instant_column: str,
    ) -> pa.Table:
        """Find for each row of the spine the newest row of each view known at its instant (inclusive).

        spine: the keys of all views, and `instant_column`. tables: by `view.table`; every row has a unique version.
        Returns one row per spine row, in its order: for each view VIEW__FEATURE, VIEW__known_since and VIEW__sequence
        (see `joined_column_name`), null where no row was known, or where the instant or a key is null.
        """
        ...

    def latest_rows(self, view: FeatureViewSpec, table: TableInput) -> pa.Table:
        """Return the newest row of each key without null: keys, features, known_since, sequence; sorted by key."""
        ...

    def rows_at_version(self, view: FeatureViewSpec, table: TableInput, versions: pa.Table) -> pa.Table:
        """Find rows by key, known_since and sequence.

        versions: columns `position` (int64), the keys, known_since and sequence. Returns `position` and the features
        of each row that exists, in any order.
        """
        ...

    def matching_rows(
        self, table: TableInput, keys: TableInput, *, columns: tuple[str, ...], scratch: Path
    ) -> pa.RecordBatchReader:
        """Return the rows of a table whose values in the columns of `keys` equal those of one of its rows.

        Each row is returned once, in any order, with `columns`; a null equals nothing. Memory is bounded: what exceeds
        it is written to the folder `scratch`, which exists until the rows are read.
        """
        ...

    def compare_past(
        self, full: TableInput, past: TableInput, *, audit_instant: str, keys: tuple[str, ...]
    ) -> PastComparison:
        """Compare the rows of two builds of one table whose known_since is at most the audit instant.

        full, past: built from all rows, and from the rows recorded up to `audit_instant` (RFC 3339, UTC). Rows are
        matched by key, known_since, and their rank by sequence among the rows of one instant. Floats are equal up to
        FLOAT_TOLERANCE; null equals null. Columns that `past` lacks are reported without a comparison.
        """
        ...

    def recording_instants(self, table: TableInput, columns: Sequence[str]) -> list[int]:
        """List the last recording instant of each day (UTC) with rows, ascending, in microseconds since 1970.

        columns: timestamps or dates; the first one that is not null is the row's instant. When all rows were recorded
        on one day, list each distinct instant.
        """
        ...


# --- dbt --------------------------------------------------------------------------------------------------------------


class DbtSource(Frozen):
    """A source of a dbt build. location: for the engine's own use; known_since_columns: recording columns, in order."""

    location: dict[str, JsonValue]
    known_since_columns: tuple[str, ...]


class DbtRun(NamedTuple):
    """One run of dbt: over all rows, or over those recorded up to `audit_instant`. scratch: shared by all runs."""

    name: str
    scratch: Path
    audit_instant: str | None


class DbtDialect(NamedTuple):
    """What the messages and types of an engine mean.

    sql_error_kinds: kinds of errors whose message is about the SQL only; any other message may quote a value.
    type_words: words of type names in messages. inexact_types: column types that the engine stores inexactly.
    """

    sql_error_kinds: frozenset[str]
    type_words: frozenset[str]
    inexact_types: frozenset[str]


class DbtBackend(Protocol):
    """How dbt builds on an engine. The parent process prepares and reads; the child process runs dbt."""

    @property
    def dialect(self) -> DbtDialect: ...

    def prepare_source(self, table: TableInput, scratch: Path) -> dict[str, JsonValue]:
        """Make a table readable for the child process, and return its location (parent)."""
        ...

    def list_source_files(self, location: dict[str, JsonValue]) -> tuple[Path, ...]:
        """List the files of this machine that the child process reads for a source; it may read no others (parent)."""
        ...

    def dbt_profile(self, run: DbtRun, sources: Mapping[str, DbtSource]) -> dict[str, Any]:
        """Return the target of a run for profiles.yml, without secrets (child).

        The build can read its sources only: the rows recorded up to the run's audit instant, as tables of
        LANDED_SCHEMA. It can write only below the run's folder.
        """
        ...

    def export_table(self, relation: str, name: str, run: DbtRun, sort_columns: Sequence[str]) -> int:
        """Write a table that dbt has built, sorted, and return its number of rows (child, after the run)."""
        ...

    def open_export(self, name: str, run: DbtRun) -> TableInput:
        """Open a table that `export_table` has written (parent)."""
        ...

    def normalize_sql(self, sql: str) -> str:
        """Return a text that is equal for all texts of one SELECT that differ in comments and layout (parent)."""
        ...


@dataclass(frozen=True)
class QueryEngineAdapter:
    """A query engine, registered as an entry point of the group `wellspring.query_engines`.

    settings: model of `[query.options]`; its instance is the argument of `open_engine`. packages: top-level modules
    that it imports.
    """

    settings: type[BaseModel]
    open_engine: Callable[[Any], QueryEngine]
    packages: tuple[str, ...] = ()


def joined_column_name(view: str, feature: str) -> str:
    """Return the name of a joined column: VIEW__FEATURE."""
    return f"{view}__{feature}"
