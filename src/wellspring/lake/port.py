"""Define the catalog of a lake as protocols: tables that grow on a branch before they are published.

Each table has two branches besides `main`. `audit` holds rows that were written and not yet read back; `staging` holds
audited rows that are not yet published. A snapshot is immutable; tags keep the snapshots of editions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pydantic import BaseModel

from wellspring.lake.file_pins import PinnedFile

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.records.tables import TableInput

PinFiles = Callable[[Collection[PinnedFile]], Mapping[str, str]]
"""Keep the size and digest of the files of an append, and return the properties of its snapshot that name them."""

LANDED_NAMESPACE, BUILT_NAMESPACE, RECORDED_NAMESPACE = "landed", "built", "recorded"
MAIN_BRANCH, STAGING_BRANCH, AUDIT_BRANCH = "main", "staging", "audit"


class Snapshot(NamedTuple):
    """One snapshot of a table: the properties it was written with, and the table's number of rows.

    committed_ms: milliseconds since 1970 at which it was written.
    """

    snapshot_id: int
    properties: Mapping[str, str]
    rows: int
    committed_ms: int = 0


class Table(Protocol):
    """One table in the state in which it was opened, updated by each change made through this object.

    Writes raise Unavailable when another writer changed the table since it was opened.
    """

    @property
    def name(self) -> str: ...

    # --- reading ---

    def branch_head(self, branch: str) -> int | None:
        """Return the newest snapshot of a branch, or the snapshot of a tag."""
        ...

    def has_snapshot(self, snapshot_id: int) -> bool:
        """Return whether the table holds a snapshot."""
        ...

    def root_snapshot_id(self) -> int:
        """Return the table's first snapshot, which is empty."""
        ...

    def iter_ancestry(self, snapshot_id: int | None) -> Iterator[Snapshot]:
        """Yield a snapshot and its ancestors down to the table's root, newest first."""
        ...

    def descends_from(self, snapshot_id: int | None, ancestor_id: int | None) -> bool:
        """Return whether a snapshot equals or descends from another."""
        ...

    def rows_added_by(self, snapshot_id: int) -> pa.RecordBatchReader:
        """Read the rows that one snapshot added, from storage, in the order in which they were appended.

        Raises NotFound for an unknown snapshot.
        """
        ...

    def read_snapshot(self, snapshot_id: int, columns: tuple[str, ...] | None) -> pa.Table:
        """Read all rows of a snapshot. Raises NotFound with the nearest column."""
        ...

    def open_snapshot(self, snapshot_id: int, files: Collection[str] | None = None) -> TableInput:
        """Return a snapshot as input of a query engine, with the schema that it was written with.

        files: of its data files, only these need to be read.
        """
        ...

    def list_files(self, snapshot_id: int) -> tuple[str, ...]:
        """List all data files of a snapshot."""
        ...

    def hash_file(self, path: str) -> PinnedFile:
        """Return size and SHA-256 of a data file, read once per process while it does not change.

        Raises CorruptedError for a file that is missing.
        """
        ...

    def files_added_by(self, snapshot_id: int) -> tuple[str, ...]:
        """List the data files that one snapshot added. Raises NotFound for an unknown snapshot."""
        ...

    def read_file_columns(self, file: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Read columns of a data file, batch by batch, cast to a schema; a column that the file lacks is null."""
        ...

    # --- writing ---

    def append_rows(
        self,
        rows: pa.RecordBatchReader,
        parent_id: int,
        properties: Mapping[str, str],
        pin_files: PinFiles | None = None,
    ) -> int:
        """Append rows to the audit branch on top of `parent_id`, and return the id of the new snapshot.

        Reads the rows once, batch by batch, in bounded memory. When they end in an error nothing is appended, and the
        files written so far are orphans. pin_files: gets the files as they were written, and returns further properties
        of the snapshot.
        """
        ...

    def move_staging(self, snapshot_id: int) -> None:
        """Move the staging branch to an audited snapshot, and drop the audit branch."""
        ...

    def drop_branch(self, branch: str) -> None:
        """Drop a branch, if it exists; its rows were never visible to a reader."""
        ...

    def publish(self, snapshot_id: int, tag: str) -> None:
        """Make a snapshot current and tag it so that it never expires; idempotent.

        Raises CorruptedError when the snapshot does not contain all rows of main.
        """
        ...

    def list_tags(self) -> tuple[str, ...]:
        """List the tags, sorted."""
        ...

    def remove_tag(self, tag: str) -> None:
        """Remove a tag, if it exists: its snapshot expires unless something else names it."""
        ...

    def set_current(self, snapshot_id: int, tag: str) -> None:
        """Make a snapshot current that replaces the whole table, and tag it; idempotent.

        Raises CorruptedError when the snapshot is missing.
        """
        ...

    def keep_snapshot(self, snapshot_id: int, tag: str) -> None:
        """Tag a snapshot that replaces the whole table, so that it never expires, and leave main; idempotent.

        Raises CorruptedError when the snapshot is missing.
        """
        ...

    def remove_orphan_files(self, *, older_than: datetime) -> int:
        """Remove files that no branch and no tag references, older than an instant, and return their number."""
        ...


class Catalog(Protocol):
    """The tables of one namespace. One writer at a time: the caller's job holds the resource of the level."""

    def table_names(self) -> tuple[str, ...]:
        """List the tables, sorted. Reading never creates a catalog."""
        ...

    def table_versions(self) -> Mapping[str, str]:
        """Return a text for each table that changes with every change of the table, by name, sorted."""
        ...

    def load_table(self, name: str) -> Table:
        """Open a table in its current state. Raises NotFound with the nearest name."""
        ...

    def prepare_table(self, name: str, schema: pa.Schema) -> Table:
        """Open a table that can hold a schema: create it, or change its columns.

        A landed table gains columns and widens decimals; any other change is Refused while it has published or staged
        rows. A built table is rewritten each
        time, so its columns are replaced. Each snapshot keeps the schema that it was written with.
        """
        ...

    def close(self) -> None:
        """Release the catalog's files and connections."""
        ...


@dataclass(frozen=True)
class CatalogAdapter:
    """A kind of catalog, registered as an entry point of the group `wellspring.catalogs`.

    settings: model of `[lake.options]`; its instance is the first argument of `open_catalog`, before the folder for a
    catalog on this machine, and the namespace. packages: top-level modules that it imports.
    """

    settings: type[BaseModel]
    open_catalog: Callable[[Any, Path, str], Catalog]
    packages: tuple[str, ...] = ()
