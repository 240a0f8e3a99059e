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

from wellspring.data import digest, editions
from wellspring.data.iceberg import AUDIT, BUILT, LakeTable, Warehouse
from wellspring.errors import Broken, NotFound
from wellspring.records.data import Edition, Snapshot
from wellspring.records.observe import Step
from wellspring.records.trust import Ref

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.trust.ledger.index import Index


class BuiltTables:
    """The built level of one lake. One writer at a time: the caller holds the house's writer lock."""

    def __init__(self, folder: Path, kept: editions.Editions) -> None:
        self.folder = folder
        self._warehouse = Warehouse(folder, BUILT)
        self._editions = kept

    def close(self) -> None:
        """Let go of the catalog's file."""
        self._warehouse.close()

    def tables(self) -> Iterator[LakeTable]:
        """Open each built table that there ever was."""
        yield from map(self._warehouse.table, self._warehouse.names())

    def table(self, name: str, snapshot_id: int) -> LakeTable | None:
        """Open the built table that holds a snapshot; None when it is another table's, a landed one's."""
        if name not in self._warehouse.names():
            return None
        table = self._warehouse.table(name)
        return None if table.iceberg.snapshot_by_id(snapshot_id) is None else table

    def write(self, name: str, rows: pa.Table, order: Sequence[str], marks: Mapping[str, str]) -> tuple[Snapshot, Ref]:
        """Write a table whole where nobody reads it, and read it back. order: its rows stand in the order of these.

        Raises Broken when the rows read back are not those that were written, and then they do not stay.
        """
        written = digest.rows(rows)
        table = self._warehouse.prepare(name, rows.schema)
        snapshot_id = table.write(rows, table.root(), {**marks, "rows": str(rows.num_rows), "rows_digest": written})
        # A large table is several files, and their order is nobody's promise.
        back = table.added(snapshot_id).select(rows.column_names).sort_by([(each, "ascending") for each in order])
        if back.num_rows != rows.num_rows or digest.rows(back) != written:
            table.drop(AUDIT)
            raise Broken(
                f"table {name} read back from the lake is not what was built",
                fix="nothing of it was published; check the disk, then build again",
            )
        return (
            Snapshot(table=name, snapshot_id=snapshot_id, rows=rows.num_rows),
            Ref(name=f"snapshot:{name}@{snapshot_id}", digest=written),
        )

    def marks(self, edition: Edition) -> dict[str, Mapping[str, str]]:
        """Say, for each table of a built edition that was built, what its snapshot remembers of its build."""
        found: dict[str, Mapping[str, str]] = {}
        for each in edition.tables:
            if table := self.table(each.table, each.snapshot_id):
                found[each.table] = table.line(each.snapshot_id)[0].marks
        return found

    def publish(
        self,
        edition: Edition,
        *,
        inputs: Sequence[Ref],
        outputs: Sequence[Ref],
        facts: Mapping[str, JsonValue],
        step: Step,
    ) -> None:
        """Let readers see a built edition, all its tables at once."""
        with step(
            "publish",
            edition.subject,
            intent=True,
            inputs=inputs,
            outputs=[Ref(name=edition.subject, digest=editions.digest(edition)), *outputs],
            facts={**editions.facts(edition), **facts},
        ):
            step.reached("built.publish:intent")
            self.carry_out(edition, step)

    def carry_out(self, edition: Edition, step: Step) -> None:
        """Place the tables, write the edition down, move the pointer; each part of it may have happened already."""
        now = self._editions.newest("built")
        if any(each.id == edition.id for each in self._editions.history("built")):
            return
        if now is not None and now.known_since > edition.known_since:
            raise Broken(
                f"edition {edition.id} was built before {now.id}, which readers see already",
                fix="stop; a publish went ahead of the recovery of an earlier one",
            )
        for each in _made(edition, self._editions.get(str(edition.parent))):
            if (table := self.table(each.table, each.snapshot_id)) is None:
                raise Broken(
                    f"table {each.table} has lost snapshot {each.snapshot_id} of edition {edition.id}",
                    fix="stop; restore the lake from a copy",
                )
            table.place(each.snapshot_id, f"edition-{edition.id}")
        step.reached("built.publish:committed")
        self._editions.keep(edition)
        self._editions.point(edition)
        step.reached("built.publish:pointed")


def leaks_of(said: Index | Mapping[str, JsonValue], edition: Edition) -> tuple[str, ...]:
    """Read from the ledger which columns (`table.column`) of a built edition knew the future.

    said: the ledger's index, or the facts of the edition's publish. Raises NotFound when it was never published.
    """
    leaks = _facts(said, edition).get("leaks")
    if not isinstance(leaks, list):
        raise Broken(f"the publish of {edition.subject} says nothing of leaks", fix="stop; verify the ledger")
    return tuple(map(str, leaks))


def audited_of(said: Index | Mapping[str, JsonValue], edition: Edition) -> dict[str, int]:
    """Read from the ledger how many rows of each feature table were held against the past, when its leaks were sought.

    said: as for `leaks_of`. A table of which nothing is said was not audited: no leak of it would have been found.
    """
    audited = _facts(said, edition).get("audited")
    if not isinstance(audited, Mapping):
        return {}
    return {table: rows for table, rows in audited.items() if isinstance(rows, int)}


def _facts(said: Index | Mapping[str, JsonValue], edition: Edition) -> Mapping[str, JsonValue]:
    if isinstance(said, Mapping):
        return said
    published = said.entries(subject=edition.subject, action="publish", phase="done")
    if not published:
        raise NotFound(f"the ledger has no publish of {edition.subject}", fix="run receive, which finishes it")
    return published[0].entry.facts


def _made(edition: Edition, landed: Edition) -> tuple[Snapshot, ...]:
    """Return the tables that were built. Raises Broken unless all others are those of the one landed edition."""
    if landed.level != "landed" or not set(landed.tables) <= set(edition.tables):
        raise Broken(
            f"edition {edition.id} does not hold the tables of the landed edition {landed.id}",
            fix="stop; verify the ledger with `wellspring ledger verify`",
        )
    return tuple(each for each in edition.tables if each not in landed.tables)
