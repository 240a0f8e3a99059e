"""Built tables: what dbt made of exactly one landed edition, kept beside the landed tables, and the edition of both.

Each build writes a table whole, as one snapshot on top of the table's empty first one, so that the snapshots of two
builds share no row. Nobody reads a snapshot before it was read back; when the edition is published it is tagged, and
so never expires. Intent, act, done, as with a landed edition: a reader goes by the pointer, which moves last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from wellspring.errors import CorruptedError, NotFound
from wellspring.lake import editions, table_hash
from wellspring.lake.iceberg import AUDIT_BRANCH, BUILT_NAMESPACE, Catalog, LakeTable
from wellspring.records.data import Edition, TableSnapshot
from wellspring.records.observe import Recorder
from wellspring.records.trust import Ref

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.trust.ledger.index import LedgerIndex


class BuiltTables:
    """The built level of one lake. One writer at a time: the caller holds the house's writer lock."""

    def __init__(self, folder: Path, edition_store: editions.EditionStore) -> None:
        self.folder = folder
        self._catalog = Catalog(folder, BUILT_NAMESPACE)
        self._edition_store = edition_store

    def close(self) -> None:
        """Let go of the catalog's file."""
        self._catalog.close()

    def list_tables(self) -> Iterator[LakeTable]:
        """Open each built table that there ever was."""
        yield from map(self._catalog.load_table, self._catalog.table_names())

    def find_table(self, name: str, snapshot_id: int) -> LakeTable | None:
        """Open the built table that holds a snapshot; None when it is another table's, a landed one's."""
        if name not in self._catalog.table_names():
            return None
        table = self._catalog.load_table(name)
        return None if table.iceberg.snapshot_by_id(snapshot_id) is None else table

    def write_table(
        self, name: str, rows: pa.Table, sort_columns: Sequence[str], properties: Mapping[str, str]
    ) -> tuple[TableSnapshot, Ref]:
        """Write a table whole where nobody reads it, and read it back. order: its rows stand in the order of these.

        Raises Broken when the rows read back are not those that were written, and then they do not stay.
        """
        rows_digest = table_hash.hash_rows(rows)
        table = self._catalog.prepare_table(name, rows.schema)
        snapshot_id = table.append_rows(
            rows, table.empty_snapshot_id(), {**properties, "rows": str(rows.num_rows), "rows_digest": rows_digest}
        )
        # A large table is several files, and their order is nobody's promise.
        stored_rows = (
            table.rows_added_by(snapshot_id)
            .select(rows.column_names)
            .sort_by([(column, "ascending") for column in sort_columns])
        )
        if stored_rows.num_rows != rows.num_rows or table_hash.hash_rows(stored_rows) != rows_digest:
            table.drop_branch(AUDIT_BRANCH)
            raise CorruptedError(
                f"table {name} read back from the lake is not what was built",
                fix="nothing of it was published; check the disk, then build again",
            )
        return (
            TableSnapshot(table=name, snapshot_id=snapshot_id, rows=rows.num_rows),
            Ref(name=f"snapshot:{name}@{snapshot_id}", digest=rows_digest),
        )

    def snapshot_properties(self, edition: Edition) -> dict[str, Mapping[str, str]]:
        """Say, for each table of a built edition that was built, what its snapshot remembers of its build."""
        properties_by_table: dict[str, Mapping[str, str]] = {}
        for table_snapshot in edition.tables:
            if table := self.find_table(table_snapshot.table, table_snapshot.snapshot_id):
                properties_by_table[table_snapshot.table] = table.ancestry(table_snapshot.snapshot_id)[0].properties
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
        """Let readers see a built edition, all its tables at once."""
        with step(
            "publish",
            edition.subject,
            intent=True,
            inputs=inputs,
            outputs=[Ref(name=edition.subject, digest=editions.edition_digest(edition)), *outputs],
            facts={**editions.edition_facts(edition), **facts},
        ):
            step.crash_point("built.publish:intent")
            self.apply_publish(edition, step)

    def apply_publish(self, edition: Edition, step: Recorder) -> None:
        """Place the tables, write the edition down, move the pointer; each part of it may have happened already."""
        current = self._edition_store.latest_edition("built")
        if any(item.id == edition.id for item in self._edition_store.list_history("built")):
            return
        if current is not None and current.known_since > edition.known_since:
            raise CorruptedError(
                f"edition {edition.id} was built before {current.id}, which readers see already",
                fix="stop; a publish went ahead of the recovery of an earlier one",
            )
        for built_snapshot in _built_snapshots(edition, self._edition_store.get_edition(str(edition.parent))):
            if (table := self.find_table(built_snapshot.table, built_snapshot.snapshot_id)) is None:
                raise CorruptedError(
                    f"table {built_snapshot.table} has lost snapshot {built_snapshot.snapshot_id} of edition {edition.id}",
                    fix="stop; restore the lake from a copy",
                )
            table.set_current(built_snapshot.snapshot_id, f"edition-{edition.id}")
        step.crash_point("built.publish:committed")
        self._edition_store.save_edition(edition)
        self._edition_store.set_pointer(edition)
        step.crash_point("built.publish:pointer-switched")


def leaked_columns(facts_source: LedgerIndex | Mapping[str, JsonValue], edition: Edition) -> tuple[str, ...]:
    """Read from the ledger which columns (`table.column`) of a built edition knew the future.

    said: the ledger's index, or the facts of the edition's publish. Raises NotFound when it was never published.
    """
    leaks = _publish_facts(facts_source, edition).get("leaks")
    if not isinstance(leaks, list):
        raise CorruptedError(f"the publish of {edition.subject} says nothing of leaks", fix="stop; verify the ledger")
    return tuple(map(str, leaks))


def audited_rows(facts_source: LedgerIndex | Mapping[str, JsonValue], edition: Edition) -> dict[str, int]:
    """Read from the ledger how many rows of each feature table were held against the past, when its leaks were sought.

    said: as for `leaks_of`. A table of which nothing is said was not audited: no leak of it would have been found.
    """
    audited = _publish_facts(facts_source, edition).get("audited")
    if not isinstance(audited, Mapping):
        return {}
    return {table: rows for table, rows in audited.items() if isinstance(rows, int)}


def _publish_facts(facts_source: LedgerIndex | Mapping[str, JsonValue], edition: Edition) -> Mapping[str, JsonValue]:
    if isinstance(facts_source, Mapping):
        return facts_source
    published = facts_source.list_entries(subject=edition.subject, action="publish", phase="done")
    if not published:
        raise NotFound(f"the ledger has no publish of {edition.subject}", fix="run receive, which finishes it")
    return published[0].entry.facts


def _built_snapshots(edition: Edition, landed: Edition) -> tuple[TableSnapshot, ...]:
    """Return the tables that were built. Raises Broken unless all others are those of the one landed edition."""
    if landed.level != "landed" or not set(landed.tables) <= set(edition.tables):
        raise CorruptedError(
            f"edition {edition.id} does not hold the tables of the landed edition {landed.id}",
            fix="stop; verify the ledger with `wellspring ledger verify`",
        )
    return tuple(table_snapshot for table_snapshot in edition.tables if table_snapshot not in landed.tables)
