"""The lake: rows of tokens are staged, audited, and published as one edition that readers name.

Life of a drop here. `stage`: its rows are appended on a branch nobody reads, read back, judged, and only then wait.
`publish`: an intent is written, each table of the set switches, the edition is written down, and the pointer moves
last; a reader goes by the pointer, so it sees the old edition or the new, never a mix. After a crash `recover`
carries out each open intent from its own facts. One writer at a time: the caller holds the house's writer lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from wellspring.data import editions
from wellspring.data.audit import audit
from wellspring.data.built import BuiltTables
from wellspring.data.iceberg import AUDIT, MAIN, STAGING, LakeTable, Link, Warehouse
from wellspring.data.staged import OURS, Staged, expected, from_link, in_order, marks, with_ours
from wellspring.data.sweep import sweep
from wellspring.errors import Broken, NotFound, Refused
from wellspring.project import nearest
from wellspring.records.clock import Clock
from wellspring.records.data import Contract, Edition, Intake, Snapshot
from wellspring.records.observe import Step
from wellspring.records.trust import Logged, Ref

if TYPE_CHECKING:
    import pyarrow as pa


class Rows(NamedTuple):
    """How many rows of one drop, all its parts together, an edition holds, and how many wait."""

    published: int
    waiting: int


class Lake:
    """One project's lake: `catalog.db`, `warehouse/` and `editions/` in one folder."""

    def __init__(self, folder: Path, *, tenant: str, clock: Clock) -> None:
        self.tenant = tenant
        self.clock = clock
        self._warehouse = Warehouse(folder)
        self._editions = editions.Editions(folder / "editions")
        self.built = BuiltTables(folder, self._editions)

    def close(self) -> None:
        """Let go of the catalog's file."""
        self._warehouse.close()
        self.built.close()

    # --- writing --------------------------------------------------------------------------------------------------

    def stage(self, intake: Intake, contract: Contract, *, step: Step) -> Staged:
        """Write a part of a drop where nobody reads it, read it back, and let it wait; again changes nothing.

        Raises Refused for a stopped drop, another contract's drop or a schema that the table cannot grow to; Broken
        when the rows read back are not those that the enclave handed out, and then none of them stays.
        """
        drop = intake.drop
        rows = with_ours(expected(intake, contract), drop)
        known = self._find(drop.id, drop.part)
        if known is not None:
            if known.rows_digest != intake.rows_digest:
                raise Broken(
                    f"part {drop.part} of drop {drop.id} is in the lake with other rows",
                    fix="stop; the enclave must answer the same rows for the same part",
                )
            return known
        named = Ref(name=f"rows:{drop.id}/{drop.part}", digest=intake.rows_digest)
        with step("stage", drop.subject, inputs=[named]) as act:
            table = self._warehouse.prepare(contract.name, rows.schema)
            _refuse_stale(table.name, self._forget_stale(table))
            base = table.head(STAGING) or table.head(MAIN)
            if base is None:
                raise Broken(f"table {table.name} has no first snapshot", fix="restore the lake from a copy")
            snapshot_id = table.write(rows, base, marks(intake, contract))
            step.reached("lake.stage:appended")
            self._audit(table, snapshot_id, intake, contract)
            step.reached("lake.stage:audited")
            staged = from_link(table.name, Link(snapshot_id, marks(intake, contract), 0), published=False)
            act.writes(staged.snapshot_ref)
            act.note(
                part=drop.part, table=table.name, rows=rows.num_rows, contract=f"{contract.name}@{contract.version}"
            )
        # After the entry: what waits here was audited, and its entry stands in the ledger.
        table.stage(snapshot_id)
        return staged

    def staged(self) -> tuple[Staged, ...]:
        """List what waits for its set, the oldest of each table first."""
        return tuple(each for name in self._warehouse.names() for each in self._rows_of(name) if not each.published)

    def discard(self, *staged: Staged, step: Step) -> None:
        """Take waiting rows out of the lake; the newest of a table first, as they stand on each other."""
        for name in dict.fromkeys(each.table for each in staged):
            gone = [each for each in staged if each.table == name]
            table = self._warehouse.table(name)
            waiting = [each for each in self._rows_of(name) if not each.published]
            left = [each for each in waiting if each not in gone]
            if left != waiting[: len(left)] or table.descends(table.head(MAIN), gone[0].snapshot_id):
                raise Refused(
                    f"rows of {name} that wait stand on those to be discarded, or a publish of them was cut short",
                    fix="discard the newer drops too, or run receive, which finishes the publish",
                )
            with step("repair", f"dataset:{name}", inputs=[each.ref for each in gone], facts={"act": "discard"}):
                table.stage(left[-1].snapshot_id) if left else table.drop(STAGING)

    def rebase(self, *, step: Step) -> tuple[Staged, ...]:
        """Forget waiting rows that something published meanwhile has left behind, and say what to stage again."""
        lost: list[Staged] = []
        for name in self._warehouse.names():
            gone = self._forget_stale(self._warehouse.table(name))
            if gone:
                with step("repair", f"dataset:{name}", inputs=[each.ref for each in gone], facts={"act": "rebase"}):
                    lost.extend(gone)
        return tuple(lost)

    def publish(self, source: str, staged: Sequence[Staged], *, step: Step) -> Edition:
        """Publish waiting rows of one source as the next landed edition; rows already published change nothing.

        Raises Refused when rows of another source are among them, when rows that they stand on are not, or when they
        were left behind (then they are forgotten, and the drops named must be staged again).
        """
        if foreign := sorted({each.source for each in staged} - {source}):
            raise Refused(f"rows of {', '.join(foreign)} are no part of {source}'s set", fix="publish each set alone")
        parent = self.edition()
        tables = {each.table: each for each in parent.tables} if parent else {}
        added: list[Staged] = []
        for name in dict.fromkeys(each.table for each in staged):
            chosen = self._chosen(name, [each for each in staged if each.table == name])
            if chosen:
                added.extend(chosen)
                head = self._warehouse.table(name).line(chosen[-1].snapshot_id)[0]
                tables[name] = Snapshot(table=name, snapshot_id=head.snapshot_id, rows=head.rows)
        if not added:
            return self._holding(staged)
        edition = editions.compose(
            level="landed",
            parent=parent.id if parent else None,
            tables=tables.values(),
            drops=[each.drop for each in added],
            tenant=self.tenant,
            known_since=self.clock.now(),
        )
        with step(
            "publish",
            edition.subject,
            intent=True,
            inputs=[each.ref for each in added],
            outputs=[
                Ref(name=edition.subject, digest=editions.digest(edition)),
                *(each.snapshot_ref for each in added),
            ],
            facts={**editions.facts(edition), "source": source, "added": _counts(added)},
        ):
            step.reached("lake.publish:intent")
            self._carry_out(edition, step)
        return edition

    def recover(self, open_intents: Iterable[Logged], *, step: Step) -> tuple[Edition, ...]:
        """Carry out each publish whose intent was written and whose end was not; again changes nothing."""
        finished: list[Edition] = []
        for each in sorted(open_intents, key=lambda logged: logged.index):
            entry = each.entry
            if entry.action != "publish" or entry.facts.get("level") not in {"landed", "built"}:
                continue
            edition = editions.from_facts(entry.tenant, entry.facts)
            if edition.subject != entry.subject:
                raise Broken(
                    f"the intent {entry.id} names {entry.subject}, and its facts make {edition.subject}",
                    fix="stop; verify the ledger with `wellspring ledger verify`",
                )
            (self._carry_out if edition.level == "landed" else self.built.carry_out)(edition, step)
            step.settle("publish", edition.subject, entry.id, facts={**entry.facts, "recovered": True})
            finished.append(edition)
        return tuple(finished)

    def sweep(self, *, older_than: datetime, step: Step) -> int:
        """Remove files that failed appends left behind and return how many; call it after `recover`.

        older_than: the start of this run. What waits, and what any edition names, stays.
        """
        gone = 0
        for table in (*map(self._warehouse.table, self._warehouse.names()), *self.built.tables()):
            with step("repair", f"dataset:{table.name}", facts={"act": "sweep"}) as act:
                removed = sweep(table, older_than=older_than)
                act.note(files=removed)
            gone += removed
        return gone

    # --- reading --------------------------------------------------------------------------------------------------

    def edition(self, edition_id: str | None = None, *, level: editions.Level = "landed") -> Edition | None:
        """Return the newest of a level (None before the first), or one by its id. Raises NotFound with the nearest."""
        return self._editions.newest(level) if edition_id is None else self._editions.get(edition_id)

    def editions(self, level: editions.Level = "landed") -> tuple[Edition, ...]:
        """List the editions of a level, newest first."""
        return tuple(self._editions.history(level))

    def age(self, edition: Edition, now: datetime | None = None) -> timedelta:
        """Say how long ago an edition was published."""
        return (now or self.clock.now()) - edition.known_since

    def table(self, edition: Edition, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table as an edition holds it. Raises NotFound with the nearest table or column."""
        table, snapshot_id = self._held(edition, name)
        return table.read(snapshot_id, tuple(columns) if columns is not None else None)

    def files(self, edition: Edition, name: str) -> list[str]:
        """List the Parquet files of a table as an edition holds it, for an engine that reads files."""
        table, snapshot_id = self._held(edition, name)
        return table.files(snapshot_id)

    def knows(self, drop: str, part: int) -> bool:
        """Tell whether a part of a drop is in the lake, waiting or published."""
        if self._find(drop, part) is not None:
            return True
        # Editions outlive the snapshots of a table that was compacted; they name whole drops.
        return part == 0 and any(drop in each.drops for each in self._editions.history())

    def account(self, drop: str) -> Rows:
        """Count the rows of a drop, all its parts together."""
        found = [each for name in self._warehouse.names() for each in self._rows_of(name) if each.drop == drop]
        published = sum(each.rows for each in found if each.published)
        return Rows(published=published, waiting=sum(each.rows for each in found) - published)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _held(self, edition: Edition, name: str) -> tuple[LakeTable, int]:
        """Find a table of an edition: a landed one, or one that was built."""
        snapshot_id = _snapshot(edition, name).snapshot_id
        table = self.built.table(name, snapshot_id) if edition.level == "built" else None
        return table or self._warehouse.table(name), snapshot_id

    def _rows_of(self, name: str, table: LakeTable | None = None) -> list[Staged]:
        """List what a table's line holds, oldest first. What an edition does not hold waits, even if main holds it."""
        table = table or self._warehouse.table(name)
        main, staging = table.head(MAIN), table.head(STAGING)
        line = table.line(staging if table.descends(staging, main) else main)
        edition = self.edition()
        seen = next((each.snapshot_id for each in edition.tables if each.table == name), None) if edition else None
        published = {link.snapshot_id for link in table.line(seen)}
        if seen is not None and seen not in {link.snapshot_id for link in line}:
            raise Broken(
                f"table {name} no longer holds what edition {edition.id if edition else ''} names",
                fix="stop; restore the lake from a copy",
            )
        return [from_link(name, link, published=link.snapshot_id in published) for link in reversed(line) if link.marks]

    def _find(self, drop: str, part: int) -> Staged | None:
        for name in self._warehouse.names():
            for each in self._rows_of(name):
                if (each.drop, each.part) == (drop, part):
                    return each
        return None

    def _audit(self, table: LakeTable, snapshot_id: int, intake: Intake, contract: Contract) -> None:
        """Judge what was written by reading it back; on a no, nothing of it stays."""
        back = table.added(snapshot_id)
        as_sent = back.drop_columns(list(OURS)).select(intake.table.column_names) if intake.table is not None else back
        verdict = audit(in_order(as_sent), intake, contract)
        ours = with_ours(as_sent, intake.drop).select(list(OURS))
        if verdict.passed and back.select(list(OURS)).equals(ours):
            return
        table.drop(AUDIT)
        codes = ", ".join(sorted({reason.code for reason in verdict.reasons})) or "columns of the lake"
        raise Broken(
            f"drop {intake.drop.id} read back from {table.name} is not what the enclave handed out ({codes})",
            fix="nothing of it was kept; check the disk, then run receive again",
        )

    def _forget_stale(self, table: LakeTable) -> tuple[Staged, ...]:
        """Drop a staging branch that main has left behind, and say what was on it."""
        main, staging = table.head(MAIN), table.head(STAGING)
        if staging is None or table.descends(staging, main):
            return ()
        kept = {link.snapshot_id for link in table.line(main)}
        line = [link for link in table.line(staging) if link.snapshot_id not in kept and link.marks]
        table.drop(STAGING)
        return tuple(from_link(table.name, link, published=False) for link in reversed(line))

    def _chosen(self, name: str, given: list[Staged]) -> list[Staged]:
        """Return those of the given rows that still wait, oldest first."""
        table = self._warehouse.table(name)
        _refuse_stale(name, self._forget_stale(table))
        now = {(each.drop, each.part): each for each in self._rows_of(name, table)}
        if lost := [each.drop for each in given if (each.drop, each.part) not in now]:
            raise Refused(f"drops {', '.join(lost)} no longer wait in {name}", fix="run receive again")
        waiting = [each for each in now.values() if not each.published]
        chosen = [each for each in waiting if any((one.drop, one.part) == (each.drop, each.part) for one in given)]
        if chosen != waiting[: len(chosen)]:
            raise Refused(f"rows of {name} stand on others that are not published with them", fix="publish all waiting")
        return chosen

    def _holding(self, staged: Sequence[Staged]) -> Edition:
        """Return the first edition that holds all these rows."""
        holding: Edition | None = None
        for edition in self._editions.history():
            seen = {each.table: each.snapshot_id for each in edition.tables}
            if not all(
                self._warehouse.table(each.table).descends(seen.get(each.table), each.snapshot_id) for each in staged
            ):
                break
            holding = edition
        if holding is None or not staged:
            raise Refused("nothing waits to be published", fix="stage a drop first")
        return holding

    def _carry_out(self, edition: Edition, step: Step) -> None:
        """Switch the tables, write the edition down, move the pointer; each part of it may have happened already."""
        now = self.edition()
        if now is not None and any(each.id == edition.id for each in self._editions.history()):
            return
        if (now.id if now else None) != edition.parent:
            raise Broken(
                f"edition {edition.id} follows {edition.parent}, and readers are at {now.id if now else None}",
                fix="stop; a publish went ahead of the recovery of an earlier one",
            )
        before = {each.table: each.snapshot_id for each in now.tables} if now else {}
        for each in edition.tables:
            if before.get(each.table) != each.snapshot_id:
                self._warehouse.table(each.table).switch(each.snapshot_id, f"edition-{edition.id}")
                step.reached("lake.publish:table-switched")
        self._editions.keep(edition)
        step.reached("lake.publish:edition-written")
        self._editions.point(edition)
        step.reached("lake.publish:pointer-switched")


def _counts(added: list[Staged]) -> dict[str, JsonValue]:
    """Count by table the rows of one edition alone."""
    return {name: sum(each.rows for each in added if each.table == name) for name in {each.table for each in added}}


def _refuse_stale(name: str, lost: tuple[Staged, ...]) -> None:
    if lost:
        drops = ", ".join(dict.fromkeys(each.drop for each in lost))
        raise Refused(
            f"{name} moved on and left waiting drops behind; stage them again: {drops}", fix="run receive again"
        )


def _snapshot(edition: Edition, name: str) -> Snapshot:
    for each in edition.tables:
        if each.table == name:
            return each
    raise NotFound(
        f"edition {edition.id} has no table {name!r}", fix=nearest(name, [each.table for each in edition.tables])
    )
