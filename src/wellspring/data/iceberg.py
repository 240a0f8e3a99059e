"""What the lake asks of Iceberg: one catalog on SQLite, and tables that grow on a branch before anybody reads them.

Two branches a table. `audit` holds rows that were written and not yet read back; `staging` holds audited rows that
wait for their set. Each snapshot carries `wellspring.*` properties that say which drop it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.errors import Broken, NotFound, Refused, Unavailable
from wellspring.project import nearest

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

LANDED, BUILT = "landed", "built"
MAIN, STAGING, AUDIT = "main", "staging", "audit"
PREFIX = "wellspring."
FORMAT = {
    "write.parquet.compression-codec": "zstd",
    "write.parquet.compression-level": "1",
    # No two tokens are alike: a dictionary that gives up early makes files smaller and a third faster to write.
    "write.parquet.dict-size-bytes": "131072",
    # Bounds of whole drop ids, not of their first 16 letters: a search for one drop then opens one file.
    "write.metadata.metrics.column.drop_id": "full",
    "commit.manifest-merge.enabled": "true",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
}


class Link(NamedTuple):
    """One snapshot of a table's line. marks: its `wellspring.*` properties without the prefix; rows: in the table."""

    snapshot_id: int
    marks: Mapping[str, str]
    rows: int


class Warehouse:
    """The catalog (`catalog.db`) and the files (`warehouse/`) of one level of a lake; one writer at a time."""

    def __init__(self, folder: Path, namespace: str = LANDED) -> None:
        self.folder = folder
        self.namespace = namespace

    @cached_property
    def _catalog(self) -> SqlCatalog:
        from pyiceberg.catalog.sql import SqlCatalog
        from sqlalchemy import URL

        from wellspring.stores.tables.durable import NAME

        self.folder.mkdir(parents=True, exist_ok=True)
        catalog = SqlCatalog(
            "wellspring",
            # URL.create quotes what a folder's name may hold (#, %, a space).
            uri=URL.create("sqlite", database=str(self.folder / "catalog.db")).render_as_string(),
            warehouse=str(self.folder / "warehouse"),
            **{"py-io-impl": NAME},
        )
        catalog.create_namespace_if_not_exists(self.namespace)
        return catalog

    def names(self) -> tuple[str, ...]:
        """List the tables, sorted."""
        if not (self.folder / "catalog.db").exists():
            return ()
        return tuple(sorted(name for _, name in self._catalog.list_tables(self.namespace)))

    def table(self, name: str) -> LakeTable:
        """Open a table as it is now. Raises NotFound with the nearest name."""
        if name not in (known := self.names()):
            raise NotFound(f"no table {name!r} in the lake", fix=nearest(name, list(known)))
        return LakeTable(name, self._catalog.load_table((self.namespace, name)))

    def prepare(self, name: str, schema: pa.Schema) -> LakeTable:
        """Open a table that can hold this schema: create it, or add the columns that it lacks.

        Raises Refused when a column has another type than the table's. A built table is made anew each time, so it
        takes on the schema whatever it was; each snapshot keeps the schema that it was written with.
        """
        if name not in self.names():
            with _single_writer(name):
                self._catalog.create_table((self.namespace, name), schema=_plain(schema), properties=FORMAT)
        table = self.table(name)
        if self.namespace == BUILT:
            table.shed(schema)
        table.grow(schema)
        # Iceberg refuses a branch of a table without a snapshot: an empty one is the root of every line.
        if table.head(MAIN) is None:
            with _single_writer(name):
                table.iceberg.append(_plain(schema).empty_table())
        return table

    def close(self) -> None:
        """Let go of the catalog's file."""
        if "_catalog" in self.__dict__:
            self._catalog.close()
            del self.__dict__["_catalog"]


class LakeTable:
    """One table as it was when it was opened, and after each change made through here."""

    def __init__(self, name: str, iceberg: Table) -> None:
        self.name = name
        self.iceberg = iceberg

    def head(self, branch: str) -> int | None:
        """Return the newest snapshot of a branch."""
        ref = self.iceberg.refs().get(branch)
        return None if ref is None else ref.snapshot_id

    def line(self, snapshot_id: int | None) -> tuple[Link, ...]:
        """Walk from a snapshot back to the table's root, newest first."""
        known = {each.snapshot_id: each for each in self.iceberg.metadata.snapshots}
        links: list[Link] = []
        while snapshot_id is not None and (found := known.get(snapshot_id)) is not None:
            said: dict[str, str] = found.summary.additional_properties if found.summary else {}
            marks = {name.removeprefix(PREFIX): value for name, value in said.items() if name.startswith(PREFIX)}
            links.append(Link(snapshot_id, marks, int(said.get("total-records", "0"))))
            snapshot_id = found.parent_snapshot_id
        return tuple(links)

    def descends(self, snapshot_id: int | None, from_snapshot: int | None) -> bool:
        """Tell whether one snapshot holds all that another holds."""
        return any(link.snapshot_id == from_snapshot for link in self.line(snapshot_id))

    def grow(self, schema: pa.Schema) -> None:
        """Add the columns that the table lacks and widen decimals. Raises Refused for any other difference."""
        has = self.iceberg.schema().as_arrow()
        known = {field.name: field.type for field in _plain(has)}
        wanted = _plain(schema)
        for field in wanted:
            old = known.get(field.name, field.type)
            if old != field.type and not _widens(old, field.type):
                raise Refused(
                    f"column {field.name} of {self.name} is {old} in the lake and {field.type} in the contract",
                    fix="give the column a new name, or put its type back; published rows are never rewritten",
                )
        if any(known.get(field.name) != field.type for field in wanted):
            with _single_writer(self.name), self.iceberg.update_schema() as change:
                change.union_by_name(wanted)

    def shed(self, schema: pa.Schema) -> None:
        """Take out the columns that a schema lacks or has as another type."""
        wanted = {field.name: field.type for field in _plain(schema)}
        gone = [
            field.name for field in _plain(self.iceberg.schema().as_arrow()) if wanted.get(field.name) != field.type
        ]
        if gone:
            with _single_writer(self.name), self.iceberg.update_schema(allow_incompatible_changes=True) as change:
                for name in gone:
                    change.delete_column(name)

    def root(self) -> int:
        """Return the empty snapshot that each line of the table begins with."""
        return min(self.iceberg.metadata.snapshots, key=lambda each: each.sequence_number or 0).snapshot_id

    def place(self, snapshot_id: int, tag: str) -> None:
        """Make a whole-table snapshot current and tag it so that it never expires; doing it again changes nothing."""
        if self.head(MAIN) == snapshot_id == self.head(tag):
            return
        if self.iceberg.snapshot_by_id(snapshot_id) is None:
            raise Broken(f"{self.name} has lost snapshot {snapshot_id}", fix="stop; restore the lake from a copy")
        change = self.iceberg.manage_snapshots().set_current_snapshot(snapshot_id=snapshot_id)
        if self.head(tag) is None:
            change = change.create_tag(snapshot_id, tag)
        if self.head(AUDIT) == snapshot_id:
            change = change.remove_branch(AUDIT)
        with _single_writer(self.name):
            change.commit()

    def write(self, rows: pa.Table, base: int, marks: Mapping[str, str]) -> int:
        """Append rows on the audit branch, on top of `base`, and return their snapshot; nobody reads it yet."""
        with _single_writer(self.name):
            self.iceberg.manage_snapshots().create_branch(base, AUDIT).commit()
            self.iceberg.append(rows, branch=AUDIT, snapshot_properties={PREFIX + k: v for k, v in marks.items()})
        head = self.head(AUDIT)
        if head is None:
            raise Broken(f"the rows just written to {self.name} are gone", fix="check the disk under the lake")
        return head

    def added(self, snapshot_id: int) -> pa.Table:
        """Read back exactly the rows that one snapshot added, from its files."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        # Not a scan with a filter: comparing 150,000 drop ids costs far more than reading the one file that holds them.
        read: list[pa.Table] = []
        for file in self._added_files(snapshot_id):
            with self.iceberg.io.new_input(file.file_path).open() as stream:
                read.append(pq.read_table(stream))
        return _as_plain(pa.concat_tables(read) if read else self.iceberg.schema().as_arrow().empty_table())

    def stage(self, snapshot_id: int) -> None:
        """Move the staging branch to a snapshot that was audited."""
        with _single_writer(self.name):
            change = self.iceberg.manage_snapshots().create_branch(snapshot_id, STAGING)
            (change.remove_branch(AUDIT) if self.head(AUDIT) is not None else change).commit()

    def drop(self, branch: str) -> None:
        """Forget a branch; its rows were never visible to a reader."""
        if self.head(branch) is not None:
            with _single_writer(self.name):
                self.iceberg.manage_snapshots().remove_branch(branch).commit()

    def switch(self, snapshot_id: int, tag: str) -> None:
        """Make a snapshot the table's current one, and tag it so that it never expires. Doing it again changes nothing.

        Raises Broken when the snapshot does not hold all that main holds.
        """
        main = self.head(MAIN)
        if self.descends(main, snapshot_id) and self.head(tag) == snapshot_id:
            return
        if not self.descends(snapshot_id, main) and not self.descends(main, snapshot_id):
            raise Broken(
                f"snapshot {snapshot_id} of {self.name} does not hold all rows that are published already",
                fix="stop; find out who else wrote to this lake",
            )
        change = self.iceberg.manage_snapshots()
        if self.head(tag) is None:
            change = change.create_tag(snapshot_id, tag)
        if self.head(STAGING) == snapshot_id:
            change = change.remove_branch(STAGING)
        if main != snapshot_id and self.descends(snapshot_id, main):
            change = change.set_current_snapshot(snapshot_id=snapshot_id)
        with _single_writer(self.name):
            change.commit()

    def read(self, snapshot_id: int, columns: tuple[str, ...] | None) -> pa.Table:
        """Read a snapshot. Raises NotFound with the nearest column."""
        scan = self.iceberg.scan(snapshot_id=snapshot_id)
        known = [field.name for field in scan.projection().fields]
        for column in columns or ():
            if column not in known:
                raise NotFound(f"no column {column!r} in {self.name}", fix=nearest(column, known))
        return _as_plain((scan if columns is None else scan.select(*columns)).to_arrow())

    def files(self, snapshot_id: int) -> list[str]:
        """List the Parquet files of a snapshot, as local paths."""
        return sorted(task.file.file_path for task in self.iceberg.scan(snapshot_id=snapshot_id).plan_files())

    def _added_files(self, snapshot_id: int) -> list[DataFile]:
        snapshot = self.iceberg.snapshot_by_id(snapshot_id)
        if snapshot is None:
            raise NotFound(f"{self.name} has no snapshot {snapshot_id}", fix="check the number")
        return [
            entry.data_file
            for manifest in snapshot.manifests(self.iceberg.io)
            if manifest.added_snapshot_id == snapshot_id
            for entry in manifest.fetch_manifest_entry(self.iceberg.io)
            if entry.snapshot_id == snapshot_id
        ]


@contextmanager
def _single_writer(name: str) -> Iterator[None]:
    """Say in our words what Iceberg says when two write at once: CommitFailed, or a bare ValueError on sequence."""
    from pyiceberg.exceptions import CommitFailedException, TableAlreadyExistsError

    try:
        yield
    except (CommitFailedException, TableAlreadyExistsError):
        raise Unavailable(f"another writer changed {name} meanwhile", fix="try again when it has ended") from None
    except ValueError as wrong:
        if "sequence number" not in str(wrong):
            raise
        raise Unavailable(f"another writer changed {name} meanwhile", fix="try again when it has ended") from None


def _plain(schema: pa.Schema) -> pa.Schema:
    """Write a schema with string for large_string, all columns nullable and without metadata."""
    import pyarrow as pa

    def plain(kind: Any) -> Any:
        return pa.string() if pa.types.is_large_string(kind) else kind

    return pa.schema([pa.field(field.name, plain(field.type)) for field in schema])


def _as_plain(rows: pa.Table) -> pa.Table:
    """Give rows the plain types: pyiceberg answers string, or large_string where there is no row."""
    return rows.cast(_plain(rows.schema))


def _widens(old: pa.DataType, new: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_decimal(old) and pa.types.is_decimal(new):
        return old.scale == new.scale and new.precision > old.precision
    return (old, new) in {(pa.int32(), pa.int64()), (pa.float32(), pa.float64())}
