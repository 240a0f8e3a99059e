"""Built tables: the output of dbt for exactly one landed edition, stored next to the landed tables.

Each build writes a complete table as one snapshot on top of the table's empty first snapshot, so the snapshots of two
builds share no rows. A snapshot becomes visible only after it was read back and verified; publishing tags it, so that
it never expires. Publishing follows intent, act, done, as for a landed edition: the readers' pointer moves last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from wellspring.errors import CorruptedError, NotFound
from wellspring.lake import editions, table_hash
from wellspring.lake.file_pins import FILES_PROPERTY, FilePins
from wellspring.lake.port import AUDIT_BRANCH, Catalog, Table
from wellspring.records.lake import Edition, TableSnapshot
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.stores.locks.port import WriteFence

CODE_PROPERTY, PURPOSE_PROPERTY, VERSION_PROPERTY = "code", "purpose", "version"
"""Properties of a built snapshot: the digest of the dbt project, what it was built for, the version of its table."""
NEWEST, WARM = "newest", "warm"
"""Purposes of a built edition: the newest transform of the newest data, or an earlier one for a release."""

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.trust.ledger.index import LedgerIndex


class BuiltTables:
    """The built level of one lake. One writer at a time: the caller's job holds the resource `built`."""

    def __init__(
        self, catalog: Catalog, edition_store: editions.EditionStore, fence: WriteFence, pins: FilePins
    ) -> None:
        self._catalog = catalog
        self._pins = pins
        self._edition_store = edition_store
        self._fence = fence

    def close(self) -> None:
        """Close the catalog."""
        self._catalog.close()

    def list_tables(self) -> Iterator[Table]:
        """Open every built table in the catalog, including those of earlier builds."""
        yield from map(self._catalog.load_table, self._catalog.table_names())

    def find_table(self, name: str, snapshot_id: int) -> Table | None:
        """Open the built table that holds a snapshot; return None when the snapshot belongs to a landed table."""
        if name not in self._catalog.table_names():
            return None
        table = self._catalog.load_table(name)
        return table if table.has_snapshot(snapshot_id) else None

    def write_table(
        self, name: str, rows: pa.Table, sort_columns: Sequence[str], properties: Mapping[str, str]
    ) -> tuple[TableSnapshot, Ref]:
        """Write a complete table to an unpublished snapshot, sorted by `sort_columns`, and read it back.

        Raises CorruptedError when the rows read back differ from those written; the snapshot is then removed.
        """
        rows_digest = table_hash.hash_rows(rows)
        table = self._catalog.prepare_table(name, rows.schema)
        snapshot_id = table.append_rows(
            rows.to_reader(),
            table.root_snapshot_id(),
            {**properties, "rows": str(rows.num_rows), "rows_digest": rows_digest},
            self._pins.pin_snapshot,
        )
        stored_rows = (
            table.rows_added_by(snapshot_id)
            .read_all()
            .select(rows.column_names)
            .sort_by([(column, "ascending") for column in sort_columns])
        )
        if stored_rows.num_rows != rows.num_rows or table_hash.hash_rows(stored_rows) != rows_digest:
            table.drop_branch(AUDIT_BRANCH)
            raise CorruptedError(
                f"table {name} read back from the lake differs from what was built",
                fix="nothing was published; check the disk, then build again",
            )
        return (
            TableSnapshot(
                table=name,
                snapshot_id=snapshot_id,
                rows=rows.num_rows,
                files=next(table.iter_ancestry(snapshot_id)).properties.get(FILES_PROPERTY, ""),
            ),
            Ref(name=f"snapshot:{name}@{snapshot_id}", digest=rows_digest),
        )

    def snapshot_properties(self, edition: Edition) -> dict[str, Mapping[str, str]]:
        """Return the snapshot properties of each built table of an edition, by table name."""
        properties_by_table: dict[str, Mapping[str, str]] = {}
        for table_snapshot in edition.tables:
            if table := self.find_table(table_snapshot.table, table_snapshot.snapshot_id):
                properties_by_table[table_snapshot.table] = next(
                    table.iter_ancestry(table_snapshot.snapshot_id)
                ).properties
        return properties_by_table

    def publish(
        self,
        edition: Edition,
        *,
        inputs: Sequence[Ref],
        outputs: Sequence[Ref],
        facts: Mapping[str, JsonValue],
        step: Recorder,
    ) -> None:
        """Make all tables of a built edition visible to readers at once."""
        with (
            # Around the intent, as in `Lake.publish`.
            self._fence.fence_writes("built"),
            step(
                "publish",
                edition.subject,
                intent=True,
                inputs=inputs,
                outputs=[Ref(name=edition.subject, digest=editions.edition_digest(edition)), *outputs],
                facts={**editions.edition_facts(edition), **facts},
            ),
        ):
            step.crash_point("built.publish:intent")
            self.apply_publish(edition, step)

    def apply_publish(self, edition: Edition, step: Recorder) -> None:
        """Set the current snapshots, save the edition and move the pointers; each part is idempotent.

        An edition that was built for an earlier release changes neither current snapshots nor the pointer `built`.
        """
        current = self._edition_store.latest_edition("built")
        if any(published.id == edition.id for published in self._edition_store.list_history("built")):
            return
        tables = self._open_built_tables(edition)
        properties = next(iter(self.snapshot_properties(edition).values()), {})
        is_newest = properties.get(PURPOSE_PROPERTY, NEWEST) == NEWEST
        if is_newest and current is not None and current.known_since > edition.known_since:
            raise CorruptedError(
                f"edition {edition.id} was built before {current.id}, which is already published",
                fix="stop; a publish ran before an earlier one was recovered",
            )
        for snapshot_id, table in tables:
            (table.set_current if is_newest else table.keep_snapshot)(snapshot_id, f"edition-{edition.id}")
        step.crash_point("built.publish:committed")
        self._edition_store.save_edition(edition)
        # Again: the process may have been paused after the intent was written.
        with self._fence.fence_writes("built"):
            if transform := properties.get(CODE_PROPERTY):
                self._edition_store.set_transform_pointer(edition, transform)
            if is_newest:
                self._edition_store.set_pointer(edition)
        step.crash_point("built.publish:pointer-switched")

    def find_build(self, landed: Edition, transform: Digest) -> Edition | None:
        """Return the edition that a transform built from a landed edition, if it is the last that it built."""
        built = self._edition_store.latest_of_transform(transform)
        return built if built is not None and built.parent == landed.id else None

    def _open_built_tables(self, edition: Edition) -> list[tuple[int, Table]]:
        """Open the built tables of an edition. Raises CorruptedError for a missing snapshot."""
        tables: list[tuple[int, Table]] = []
        for built_snapshot in _built_snapshots(edition, self._edition_store.get_edition(str(edition.parent))):
            if (table := self.find_table(built_snapshot.table, built_snapshot.snapshot_id)) is None:
                raise CorruptedError(
                    f"snapshot {built_snapshot.snapshot_id} of {built_snapshot.table}, named by edition {edition.id}, "
                    "is missing",
                    fix="stop; restore the lake from a copy",
                )
            tables.append((built_snapshot.snapshot_id, table))
        return tables


def leaked_columns(facts_source: LedgerIndex | Mapping[str, JsonValue], edition: Edition) -> tuple[str, ...]:
    """Read from the ledger which columns (`table.column`) of a built edition use future information.

    facts_source: the ledger's index, or the facts of the edition's publish entry. Raises NotFound when the edition was
    never published.
    """
    leaks = _publish_facts(facts_source, edition).get("leaks")
    if not isinstance(leaks, list):
        raise CorruptedError(
            f"the publish entry of {edition.subject} has no fact 'leaks'", fix="stop; verify the ledger"
        )
    return tuple(map(str, leaks))


def audited_rows(facts_source: LedgerIndex | Mapping[str, JsonValue], edition: Edition) -> dict[str, int]:
    """Read from the ledger how many rows of each feature table the leakage audit compared.

    facts_source: as for `leaked_columns`. A table that is missing was not audited: its leaks would not be detected.
    """
    audited = _publish_facts(facts_source, edition).get("audited")
    if not isinstance(audited, Mapping):
        return {}
    return {table: rows for table, rows in audited.items() if isinstance(rows, int)}


def landing_time_tables(facts_source: LedgerIndex | Mapping[str, JsonValue], edition: Edition) -> tuple[str, ...]:
    """Read from the ledger which tables have rows that count as known when they landed, for want of `recorded_at`."""
    tables = _publish_facts(facts_source, edition).get("landing_time")
    return tuple(map(str, tables)) if isinstance(tables, list) else ()


def _publish_facts(facts_source: LedgerIndex | Mapping[str, JsonValue], edition: Edition) -> Mapping[str, JsonValue]:
    if isinstance(facts_source, Mapping):
        return facts_source
    published = facts_source.list_entries(subject=edition.subject, action="publish", phase="done")
    if not published:
        raise NotFound(
            f"the ledger has no publish entry of {edition.subject}",
            fix="run `wellspring ingest`, which finishes an interrupted publish",
        )
    return published[0].entry.facts


def _built_snapshots(edition: Edition, landed: Edition) -> tuple[TableSnapshot, ...]:
    """Return the built tables. Raises CorruptedError unless all other tables are those of the landed edition."""
    if landed.level != "landed" or not set(landed.tables) <= set(edition.tables):
        raise CorruptedError(
            f"edition {edition.id} does not hold the tables of the landed edition {landed.id}",
            fix="stop; verify the ledger with `wellspring ledger verify`",
        )
    return tuple(table_snapshot for table_snapshot in edition.tables if table_snapshot not in landed.tables)
