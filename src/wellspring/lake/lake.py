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

from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.lake import editions
from wellspring.lake.built_tables import BuiltTables
from wellspring.lake.iceberg import AUDIT_BRANCH, MAIN_BRANCH, STAGING_BRANCH, Catalog, LakeTable, SnapshotInfo
from wellspring.lake.orphan_files import remove_orphan_files
from wellspring.lake.staging import (
    SYSTEM_COLUMNS,
    StagedPart,
    add_system_columns,
    from_snapshot,
    rows_to_stage,
    snapshot_properties,
    sort_rows,
)
from wellspring.lake.write_audit import audit_write
from wellspring.project import suggest_name
from wellspring.records.clock import Clock
from wellspring.records.data import AdmissionResult, DataContract, Edition, TableSnapshot
from wellspring.records.observe import Recorder
from wellspring.records.trust import IndexedEntry, Ref

if TYPE_CHECKING:
    import pyarrow as pa


class DropRowCount(NamedTuple):
    """How many rows of one drop, all its parts together, an edition holds, and how many wait."""

    published: int
    waiting: int


class Lake:
    """One project's lake: `catalog.db`, `warehouse/` and `editions/` in one folder."""

    def __init__(self, folder: Path, *, tenant: str, clock: Clock) -> None:
        self.tenant = tenant
        self.clock = clock
        self._catalog = Catalog(folder)
        self._edition_store = editions.EditionStore(folder / "editions")
        self.built_tables = BuiltTables(folder, self._edition_store)

    def close(self) -> None:
        """Let go of the catalog's file."""
        self._catalog.close()
        self.built_tables.close()

    # --- writing --------------------------------------------------------------------------------------------------

    def stage_part(self, admission: AdmissionResult, contract: DataContract, *, step: Recorder) -> StagedPart:
        """Write a part of a drop where nobody reads it, read it back, and let it wait; again changes nothing.

        Raises Refused for a stopped drop, another contract's drop or a schema that the table cannot grow to; Broken
        when the rows read back are not those that the enclave handed out, and then none of them stays.
        """
        drop = admission.drop
        rows = add_system_columns(rows_to_stage(admission, contract), drop)
        existing = self._find_part(drop.id, drop.replay_number)
        if existing is not None:
            if existing.rows_digest != admission.rows_digest:
                raise CorruptedError(
                    f"part {drop.replay_number} of drop {drop.id} is in the lake with other rows",
                    fix="stop; the enclave must answer the same rows for the same part",
                )
            return existing
        rows_ref = Ref(name=f"rows:{drop.id}/{drop.replay_number}", digest=admission.rows_digest)
        with step("stage", drop.subject, inputs=[rows_ref]) as act:
            table = self._catalog.prepare_table(contract.name, rows.schema)
            _refuse_stale_parts(table.name, self._drop_stale_staging(table))
            parent_id = table.branch_head(STAGING_BRANCH) or table.branch_head(MAIN_BRANCH)
            if parent_id is None:
                raise CorruptedError(f"table {table.name} has no first snapshot", fix="restore the lake from a copy")
            snapshot_id = table.append_rows(rows, parent_id, snapshot_properties(admission, contract))
            step.crash_point("lake.stage:appended")
            self._audit_snapshot(table, snapshot_id, admission, contract)
            step.crash_point("lake.stage:audited")
            staged_part = from_snapshot(
                table.name, SnapshotInfo(snapshot_id, snapshot_properties(admission, contract), 0), published=False
            )
            act.add_outputs(staged_part.snapshot_ref)
            act.add_facts(
                replay_number=drop.replay_number,
                table=table.name,
                rows=rows.num_rows,
                contract=f"{contract.name}@{contract.version}",
            )
        # After the entry: what waits here was audited, and its entry stands in the ledger.
        table.move_staging(snapshot_id)
        return staged_part

    def staged_parts(self) -> tuple[StagedPart, ...]:
        """List what waits for its set, the oldest of each table first."""
        return tuple(
            staged_part
            for name in self._catalog.table_names()
            for staged_part in self._table_parts(name)
            if not staged_part.published
        )

    def discard_parts(self, *parts: StagedPart, step: Recorder) -> None:
        """Take waiting rows out of the lake; the newest of a table first, as they stand on each other."""
        for name in dict.fromkeys(part.table for part in parts):
            discarded = [item for item in parts if item.table == name]
            table = self._catalog.load_table(name)
            waiting = [table_part for table_part in self._table_parts(name) if not table_part.published]
            remaining = [item for item in waiting if item not in discarded]
            if remaining != waiting[: len(remaining)] or table.descends_from(
                table.branch_head(MAIN_BRANCH), discarded[0].snapshot_id
            ):
                raise Refused(
                    f"rows of {name} that wait stand on those to be discarded, or a publish of them was cut short",
                    fix="discard the newer drops too, or run receive, which finishes the publish",
                )
            with step(
                "repair",
                f"dataset:{name}",
                inputs=[item.rows_ref for item in discarded],
                facts={"operation": "discard"},
            ):
                table.move_staging(remaining[-1].snapshot_id) if remaining else table.drop_branch(STAGING_BRANCH)

    def rebase_staging(self, *, step: Recorder) -> tuple[StagedPart, ...]:
        """Forget waiting rows that something published meanwhile has left behind, and say what to stage again."""
        stale_parts: list[StagedPart] = []
        for name in self._catalog.table_names():
            table_parts = self._drop_stale_staging(self._catalog.load_table(name))
            if table_parts:
                with step(
                    "repair",
                    f"dataset:{name}",
                    inputs=[part.rows_ref for part in table_parts],
                    facts={"operation": "rebase"},
                ):
                    stale_parts.extend(table_parts)
        return tuple(stale_parts)

    def publish(self, source: str, parts: Sequence[StagedPart], *, step: Recorder) -> Edition:
        """Publish waiting rows of one source as the next landed edition; rows already published change nothing.

        Raises Refused when rows of another source are among them, when rows that they stand on are not, or when they
        were left behind (then they are forgotten, and the drops named must be staged again).
        """
        if foreign := sorted({part.source for part in parts} - {source}):
            raise Refused(f"rows of {', '.join(foreign)} are no part of {source}'s set", fix="publish each set alone")
        parent = self.get_edition()
        tables = {table.table: table for table in parent.tables} if parent else {}
        added_parts: list[StagedPart] = []
        for name in dict.fromkeys(part.table for part in parts):
            selected = self._select_waiting(name, [part for part in parts if part.table == name])
            if selected:
                added_parts.extend(selected)
                head = self._catalog.load_table(name).ancestry(selected[-1].snapshot_id)[0]
                tables[name] = TableSnapshot(table=name, snapshot_id=head.snapshot_id, rows=head.rows)
        if not added_parts:
            return self._containing_edition(parts)
        edition = editions.build_edition(
            level="landed",
            parent=parent.id if parent else None,
            tables=tables.values(),
            drops=[added_part.drop for added_part in added_parts],
            tenant=self.tenant,
            known_since=self.clock.now(),
        )
        with step(
            "publish",
            edition.subject,
            intent=True,
            inputs=[added_part.rows_ref for added_part in added_parts],
            outputs=[
                Ref(name=edition.subject, digest=editions.edition_digest(edition)),
                *(added_part.snapshot_ref for added_part in added_parts),
            ],
            facts={**editions.edition_facts(edition), "source": source, "added": _rows_by_table(added_parts)},
        ):
            step.crash_point("lake.publish:intent")
            self._apply_publish(edition, step)
        return edition

    def recover(self, open_intents: Iterable[IndexedEntry], *, step: Recorder) -> tuple[Edition, ...]:
        """Carry out each publish whose intent was written and whose end was not; again changes nothing."""
        finished: list[Edition] = []
        for open_intent in sorted(open_intents, key=lambda logged: logged.index):
            entry = open_intent.entry
            if entry.action != "publish" or entry.facts.get("level") not in {"landed", "built"}:
                continue
            edition = editions.edition_from_facts(entry.tenant, entry.facts)
            if edition.subject != entry.subject:
                raise CorruptedError(
                    f"the intent {entry.id} names {entry.subject}, and its facts make {edition.subject}",
                    fix="stop; verify the ledger with `wellspring ledger verify`",
                )
            (self._apply_publish if edition.level == "landed" else self.built_tables.apply_publish)(edition, step)
            step.complete_after_crash("publish", edition.subject, entry.id, facts={**entry.facts, "recovered": True})
            finished.append(edition)
        return tuple(finished)

    def remove_orphan_files(self, *, older_than: datetime, step: Recorder) -> int:
        """Remove files that failed appends left behind and return how many; call it after `recover`.

        older_than: the start of this run. What waits, and what any edition names, stays.
        """
        removed_total = 0
        for table in (*map(self._catalog.load_table, self._catalog.table_names()), *self.built_tables.list_tables()):
            with step("repair", f"dataset:{table.name}", facts={"operation": "remove_orphans"}) as act:
                removed = remove_orphan_files(table, older_than=older_than)
                act.add_facts(files=removed)
            removed_total += removed
        return removed_total

    # --- reading --------------------------------------------------------------------------------------------------

    def get_edition(self, edition_id: str | None = None, *, level: editions.EditionLevel = "landed") -> Edition | None:
        """Return the newest of a level (None before the first), or one by its id. Raises NotFound with the nearest."""
        return (
            self._edition_store.latest_edition(level)
            if edition_id is None
            else self._edition_store.get_edition(edition_id)
        )

    def list_editions(self, level: editions.EditionLevel = "landed") -> tuple[Edition, ...]:
        """List the editions of a level, newest first."""
        return tuple(self._edition_store.list_history(level))

    def edition_age(self, edition: Edition, now: datetime | None = None) -> timedelta:
        """Say how long ago an edition was published."""
        return (now or self.clock.now()) - edition.known_since

    def read_table(self, edition: Edition, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table as an edition holds it. Raises NotFound with the nearest table or column."""
        table, snapshot_id = self._resolve_table(edition, name)
        return table.read_snapshot(snapshot_id, tuple(columns) if columns is not None else None)

    def table_files(self, edition: Edition, name: str) -> list[str]:
        """List the Parquet files of a table as an edition holds it, for an engine that reads files."""
        table, snapshot_id = self._resolve_table(edition, name)
        return table.data_files(snapshot_id)

    def has_part(self, drop: str, replay_number: int) -> bool:
        """Tell whether a part of a drop is in the lake, waiting or published."""
        if self._find_part(drop, replay_number) is not None:
            return True
        # Editions outlive the snapshots of a table that was compacted; they name whole drops.
        return replay_number == 0 and any(drop in edition.drops for edition in self._edition_store.list_history())

    def count_drop_rows(self, drop: str) -> DropRowCount:
        """Count the rows of a drop, all its parts together."""
        parts = [part for name in self._catalog.table_names() for part in self._table_parts(name) if part.drop == drop]
        published = sum(item.rows for item in parts if item.published)
        return DropRowCount(published=published, waiting=sum(item.rows for item in parts) - published)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _resolve_table(self, edition: Edition, name: str) -> tuple[LakeTable, int]:
        """Find a table of an edition: a landed one, or one that was built."""
        snapshot_id = _edition_snapshot(edition, name).snapshot_id
        table = self.built_tables.find_table(name, snapshot_id) if edition.level == "built" else None
        return table or self._catalog.load_table(name), snapshot_id

    def _table_parts(self, name: str, table: LakeTable | None = None) -> list[StagedPart]:
        """List what a table's line holds, oldest first. What an edition does not hold waits, even if main holds it."""
        table = table or self._catalog.load_table(name)
        main, staging = table.branch_head(MAIN_BRANCH), table.branch_head(STAGING_BRANCH)
        ancestors = table.ancestry(staging if table.descends_from(staging, main) else main)
        edition = self.get_edition()
        published_id = (
            next(
                (table_snapshot.snapshot_id for table_snapshot in edition.tables if table_snapshot.table == name), None
            )
            if edition
            else None
        )
        published = {ancestor.snapshot_id for ancestor in table.ancestry(published_id)}
        if published_id is not None and published_id not in {link.snapshot_id for link in ancestors}:
            raise CorruptedError(
                f"table {name} no longer holds what edition {edition.id if edition else ''} names",
                fix="stop; restore the lake from a copy",
            )
        return [
            from_snapshot(name, link, published=link.snapshot_id in published)
            for link in reversed(ancestors)
            if link.properties
        ]

    def _find_part(self, drop: str, replay_number: int) -> StagedPart | None:
        for name in self._catalog.table_names():
            for staged_part in self._table_parts(name):
                if (staged_part.drop, staged_part.replay_number) == (drop, replay_number):
                    return staged_part
        return None

    def _audit_snapshot(
        self, table: LakeTable, snapshot_id: int, admission: AdmissionResult, contract: DataContract
    ) -> None:
        """Judge what was written by reading it back; on a no, nothing of it stays."""
        stored_rows = table.rows_added_by(snapshot_id)
        contract_rows = (
            stored_rows.drop_columns(list(SYSTEM_COLUMNS)).select(admission.table.column_names)
            if admission.table is not None
            else stored_rows
        )
        verdict = audit_write(sort_rows(contract_rows), admission, contract)
        system_columns = add_system_columns(contract_rows, admission.drop).select(list(SYSTEM_COLUMNS))
        if verdict.passed and stored_rows.select(list(SYSTEM_COLUMNS)).equals(system_columns):
            return
        table.drop_branch(AUDIT_BRANCH)
        codes = ", ".join(sorted({reason.code for reason in verdict.reasons})) or "columns of the lake"
        raise CorruptedError(
            f"drop {admission.drop.id} read back from {table.name} is not what the enclave handed out ({codes})",
            fix="nothing of it was kept; check the disk, then run receive again",
        )

    def _drop_stale_staging(self, table: LakeTable) -> tuple[StagedPart, ...]:
        """Drop a staging branch that main has left behind, and say what was on it."""
        main, staging = table.branch_head(MAIN_BRANCH), table.branch_head(STAGING_BRANCH)
        if staging is None or table.descends_from(staging, main):
            return ()
        main_ids = {snapshot.snapshot_id for snapshot in table.ancestry(main)}
        stale_snapshots = [
            link for link in table.ancestry(staging) if link.snapshot_id not in main_ids and link.properties
        ]
        table.drop_branch(STAGING_BRANCH)
        return tuple(from_snapshot(table.name, link, published=False) for link in reversed(stale_snapshots))

    def _select_waiting(self, name: str, parts: list[StagedPart]) -> list[StagedPart]:
        """Return those of the given rows that still wait, oldest first."""
        table = self._catalog.load_table(name)
        _refuse_stale_parts(name, self._drop_stale_staging(table))
        current_parts = {
            (staged_part.drop, staged_part.replay_number): staged_part for staged_part in self._table_parts(name, table)
        }
        if missing := [item.drop for item in parts if (item.drop, item.replay_number) not in current_parts]:
            raise Refused(f"drops {', '.join(missing)} no longer wait in {name}", fix="run receive again")
        waiting = [current_part for current_part in current_parts.values() if not current_part.published]
        selected = [
            item
            for item in waiting
            if any((part.drop, part.replay_number) == (item.drop, item.replay_number) for part in parts)
        ]
        if selected != waiting[: len(selected)]:
            raise Refused(f"rows of {name} stand on others that are not published with them", fix="publish all waiting")
        return selected

    def _containing_edition(self, parts: Sequence[StagedPart]) -> Edition:
        """Return the first edition that holds all these rows."""
        containing: Edition | None = None
        for edition in self._edition_store.list_history():
            snapshot_ids = {table.table: table.snapshot_id for table in edition.tables}
            if not all(
                self._catalog.load_table(part.table).descends_from(snapshot_ids.get(part.table), part.snapshot_id)
                for part in parts
            ):
                break
            containing = edition
        if containing is None or not parts:
            raise Refused("nothing waits to be published", fix="stage a drop first")
        return containing

    def _apply_publish(self, edition: Edition, step: Recorder) -> None:
        """Switch the tables, write the edition down, move the pointer; each part of it may have happened already."""
        current = self.get_edition()
        if current is not None and any(item.id == edition.id for item in self._edition_store.list_history()):
            return
        if (current.id if current else None) != edition.parent:
            raise CorruptedError(
                f"edition {edition.id} follows {edition.parent}, and readers are at {current.id if current else None}",
                fix="stop; a publish went ahead of the recovery of an earlier one",
            )
        published_ids = {table.table: table.snapshot_id for table in current.tables} if current else {}
        for table in edition.tables:
            if published_ids.get(table.table) != table.snapshot_id:
                self._catalog.load_table(table.table).publish(table.snapshot_id, f"edition-{edition.id}")
                step.crash_point("lake.publish:table-switched")
        self._edition_store.save_edition(edition)
        step.crash_point("lake.publish:edition-written")
        self._edition_store.set_pointer(edition)
        step.crash_point("lake.publish:pointer-switched")


def _rows_by_table(parts: list[StagedPart]) -> dict[str, JsonValue]:
    """Count by table the rows of one edition alone."""
    return {name: sum(part.rows for part in parts if part.table == name) for name in {item.table for item in parts}}


def _refuse_stale_parts(name: str, stale_parts: tuple[StagedPart, ...]) -> None:
    if stale_parts:
        drops = ", ".join(dict.fromkeys(part.drop for part in stale_parts))
        raise Refused(
            f"{name} moved on and left waiting drops behind; stage them again: {drops}", fix="run receive again"
        )


def _edition_snapshot(edition: Edition, name: str) -> TableSnapshot:
    for table_snapshot in edition.tables:
        if table_snapshot.table == name:
            return table_snapshot
    raise NotFound(
        f"edition {edition.id} has no table {name!r}", fix=suggest_name(name, [table.table for table in edition.tables])
    )
