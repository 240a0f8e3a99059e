"""The lake: stages and audits rows of tokens, and publishes them as editions.

`stage_part` appends the rows of a drop to an unpublished branch, reads them back, audits them and then marks them as
staged. `publish` writes an intent, switches each table of the set, saves the edition and moves the pointer last, so a
reader sees either the old edition or the new one. After a crash, `recover` completes each open intent from its facts.
One writer at a time: the caller's job holds the resources `landed` and `built`, which the fence checks at
each write that readers or later runs see.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.errors import CorruptedError, Refused
from wellspring.lake import editions, key_lookup, restaging
from wellspring.lake.built_tables import BuiltTables
from wellspring.lake.file_pins import FilePins
from wellspring.lake.part_index import DropRowCount, PartIndex
from wellspring.lake.port import AUDIT_BRANCH, MAIN_BRANCH, STAGING_BRANCH, Catalog, Table
from wellspring.lake.retirement import RETIRE_ACTION, EditionRetirement
from wellspring.lake.staging import (
    StagedPart,
    add_system_columns,
    count_rows_by_table,
    refuse_stale_parts,
    rows_to_stage,
    snapshot_properties,
    staged_part_from_snapshot,
    system_values,
)
from wellspring.lake.write_audit import audit_write
from wellspring.records.clock import Clock
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import AdmissionResult
from wellspring.records.lake import Edition, TableSnapshot
from wellspring.records.observe import Recorder
from wellspring.records.trust import IndexedEntry, Ref
from wellspring.stores.locks.port import WriteFence

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.lake.key_lookup import RowMatcher
    from wellspring.records.tables import TableInput


PARTS_FILE, KEY_INDEX_FOLDER = "parts.sqlite", "keys"
"""Derived data; it can be removed at any time."""


class Lake:
    """One project's lake: the catalogs of its landed and of its built tables, and its editions.

    pins: the lists of data files that editions name. derived: the folder of indexes that can be made again; None:
    they are in memory.
    """

    def __init__(
        self,
        landed: Catalog,
        built: Catalog,
        edition_store: editions.EditionStore,
        *,
        pins: FilePins,
        tenant: str,
        clock: Clock,
        fence: WriteFence,
        derived: Path | None = None,
    ) -> None:
        self.tenant = tenant
        self.clock = clock
        self._fence = fence
        self._catalog = landed
        self._edition_store = edition_store
        self._pins = pins
        self.built_tables = BuiltTables(built, edition_store, fence, pins)
        self.retirement = EditionRetirement(self.built_tables, edition_store, fence)
        self._derived = derived
        self._parts = PartIndex(derived / PARTS_FILE if derived is not None else None, landed, edition_store)

    def close(self) -> None:
        """Close the catalogs."""
        self._parts.close()
        self._catalog.close()
        self.built_tables.close()

    # --- writing --------------------------------------------------------------------------------------------------

    def stage_part(self, admission: AdmissionResult, contract: DataContract, *, step: Recorder) -> StagedPart:
        """Write a part of a drop to an unpublished branch, read it back and mark it as staged; idempotent.

        Raises Refused for a rejected drop, a drop of another contract or an incompatible schema; CorruptedError when
        the rows read back differ from those that the enclave returned; those rows are then removed.
        """
        drop = admission.drop
        rows = add_system_columns(rows_to_stage(admission, contract), drop)
        existing = self.index_parts().find_part(drop.id, drop.replay_number)
        if existing is not None:
            if existing.rows_digest != admission.counts.rows_digest:
                raise CorruptedError(
                    f"part {drop.replay_number} of drop {drop.id} is in the lake with different rows",
                    fix="stop; the enclave must return the same rows for the same part",
                )
            return existing
        rows_ref = Ref(name=f"rows:{drop.id}/{drop.replay_number}", digest=admission.counts.rows_digest)
        with step("stage", drop.subject, inputs=[rows_ref]) as act:
            table = self._catalog.prepare_table(contract.name, rows.schema)
            refuse_stale_parts(table.name, self._drop_stale_staging(table))
            parent_id = table.branch_head(STAGING_BRANCH) or table.branch_head(MAIN_BRANCH)
            if parent_id is None:
                raise CorruptedError(f"table {table.name} has no first snapshot", fix="restore the lake from a copy")
            snapshot_id = table.append_rows(
                rows, parent_id, snapshot_properties(admission, contract), self._pins.pin_snapshot
            )
            step.crash_point("lake.stage:appended")
            self._audit_snapshot(table, snapshot_id, admission, contract)
            step.crash_point("lake.stage:audited")
            staged_part = staged_part_from_snapshot(table.name, next(table.iter_ancestry(snapshot_id)), published=False)
            act.add_outputs(staged_part.snapshot_ref)
            act.add_facts(
                replay_number=drop.replay_number,
                table=table.name,
                rows=admission.counts.admitted,
                contract=f"{contract.name}@{contract.version}",
                files=staged_part.files,
            )
        # After the ledger entry: every staged part was audited and has its entry.
        with self._fence.fence_writes("landed"):
            table.move_staging(snapshot_id)
        return staged_part

    def staged_parts(self) -> tuple[StagedPart, ...]:
        """List the staged parts that are not published, in the order in which they were staged."""
        return tuple(self.index_parts().list_waiting())

    def discard_parts(self, *parts: StagedPart, step: Recorder) -> None:
        """Remove staged parts from the lake; those that were staged after them are staged again. Raises Refused."""
        for name in dict.fromkeys(part.table for part in parts):
            discarded = [part for part in parts if part.table == name]
            waiting = self.index_parts().list_waiting(name)
            with self._fence.fence_writes("landed"):
                restaging.discard_parts(self._catalog.load_table(name), waiting, discarded, self._pins, step=step)

    def publish(self, source: str, parts: Sequence[StagedPart], *, step: Recorder) -> Edition:
        """Publish staged parts of one source as the next landed edition; published parts change nothing.

        Raises Refused when a part belongs to another source, when an earlier staged part is missing, or when parts do
        not descend from the published rows (they are then dropped, and the drops named must be staged again).
        """
        if foreign := sorted({part.source for part in parts} - {source}):
            raise Refused(
                f"rows of {', '.join(foreign)} do not belong to the set of {source}", fix="publish each set alone"
            )
        parent = self.get_edition()
        tables = {table.table: table for table in parent.tables} if parent else {}
        added_parts: list[StagedPart] = []
        for name in dict.fromkeys(part.table for part in parts):
            selected = self._select_waiting(name, [part for part in parts if part.table == name])
            if selected:
                added_parts.extend(selected)
                table = self._catalog.load_table(name)
                head = next(table.iter_ancestry(selected[-1].snapshot_id))
                tables[name] = TableSnapshot(
                    table=name,
                    snapshot_id=head.snapshot_id,
                    rows=head.rows,
                    files=self._pins.pin_table(
                        table, head.snapshot_id, tables.get(name), [part.files for part in selected]
                    ),
                )
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
        with (
            # Around the intent: a stale one would stop the recovery of the next holder.
            self._fence.fence_writes("landed"),
            step(
                "publish",
                edition.subject,
                intent=True,
                inputs=[added_part.rows_ref for added_part in added_parts],
                outputs=[
                    Ref(name=edition.subject, digest=editions.edition_digest(edition)),
                    *(added_part.snapshot_ref for added_part in added_parts),
                ],
                facts={**editions.edition_facts(edition), "source": source, "added": count_rows_by_table(added_parts)},
            ),
        ):
            step.crash_point("lake.publish:intent")
            self._apply_publish(edition, step)
        return edition

    def recover(self, open_intents: Iterable[IndexedEntry], *, step: Recorder) -> tuple[Edition, ...]:
        """Complete each publish and retirement that has an intent and no end; return what was published; idempotent."""
        finished: list[Edition] = []
        for open_intent in sorted(open_intents, key=lambda indexed_entry: indexed_entry.index):
            entry = open_intent.entry
            if entry.action == RETIRE_ACTION:
                self.retirement.complete_retirement(entry, step)
            if entry.action != "publish" or entry.facts.get("level") not in {"landed", "built"}:
                continue
            edition = editions.edition_from_facts(entry.tenant, entry.facts)
            if edition.subject != entry.subject:
                raise CorruptedError(
                    f"the intent {entry.id} names {entry.subject}, but its facts describe {edition.subject}",
                    fix="stop; verify the ledger with `wellspring ledger verify`",
                )
            with self._fence.fence_writes(edition.level):
                (self._apply_publish if edition.level == "landed" else self.built_tables.apply_publish)(edition, step)
                step.complete_after_crash(
                    "publish", edition.subject, entry.id, facts={**entry.facts, "recovered": True}
                )
            finished.append(edition)
        return tuple(finished)

    def remove_orphan_files(self, *, older_than: datetime, step: Recorder) -> int:
        """Remove files of failed appends, older than the start of this run; return their number. After `recover`."""
        removed_total = 0
        for table in (*map(self._catalog.load_table, self._catalog.table_names()), *self.built_tables.list_tables()):
            with step("repair", f"dataset:{table.name}", facts={"operation": "remove_orphans"}) as act:
                removed = table.remove_orphan_files(older_than=older_than)
                act.add_facts(files=removed)
            removed_total += removed
        return removed_total

    # --- reading --------------------------------------------------------------------------------------------------

    def get_edition(self, edition_id: str | None = None, *, level: editions.EditionLevel = "landed") -> Edition | None:
        """Return the newest edition of a level (None before the first), or that of an id. Raises NotFound."""
        return (
            self._edition_store.latest_edition(level)
            if edition_id is None
            else self._edition_store.get_edition(edition_id)
        )

    def require_readable(self, edition_id: str) -> None:
        """Raise NotFound for an edition that does not exist or was retired."""
        self._edition_store.require_readable(self._edition_store.get_edition(edition_id).id)

    def list_editions(self, level: editions.EditionLevel = "landed") -> tuple[Edition, ...]:
        """List the editions of a level, newest first."""
        return tuple(self._edition_store.list_history(level))

    def read_table(self, edition: Edition, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table of an edition. Raises NotFound with the nearest name, CorruptedError for a changed file."""
        table, snapshot = self._resolve_table(edition, name)
        self._pins.check_table(edition.id, snapshot, table)
        return table.read_snapshot(snapshot.snapshot_id, tuple(columns) if columns is not None else None)

    def open_table(self, edition: Edition, name: str) -> TableInput:
        """Return a table of an edition as input of a query engine. Raises as `read_table`."""
        table, snapshot = self._resolve_table(edition, name)
        return table.open_snapshot(snapshot.snapshot_id, self._pins.check_table(edition.id, snapshot, table))

    def find_rows_by_key(
        self, contract: DataContract, keys: pa.RecordBatchReader, *, engine: RowMatcher, scratch: Path
    ) -> pa.RecordBatchReader:
        """Find the landed rows, published and staged, whose key columns equal one of the keys; a null matches nothing.

        keys: some or all key columns of the contract, with the values that stand in the lake. scratch: an existing
        folder for the keys and for what the engine spills; it is read while the rows are read. Returns the contract's
        columns, `row_number` and `drop_id`. Reads only files that can hold a key; CorruptedError if one was changed.
        """
        table = self._catalog.load_table(contract.name) if contract.name in self._catalog.table_versions() else None
        indexes = None if self._derived is None else self._derived / KEY_INDEX_FOLDER
        check_files = partial(self._pins.check_some_files, self.get_edition(), contract.name)
        return key_lookup.find_rows(table, keys, engine, scratch, indexes=indexes, check_files=check_files)

    def adapt_table(self, name: str, schema: pa.Schema) -> None:
        """Give a landed table that exists new columns. Raises Refused for a column of another type."""
        if name in self._catalog.table_versions():
            self._catalog.prepare_table(name, schema)

    def index_parts(self) -> PartIndex:
        """Return the parts of all landed tables by drop, as they are now."""
        self._parts.refresh()
        return self._parts

    def has_part(self, drop: str, replay_number: int) -> bool:
        """Return whether a part of a drop is in the lake, staged or published."""
        return self.index_parts().has_part(drop, replay_number)

    def count_drop_rows(self, drop: str) -> DropRowCount:
        """Count the rows of a drop over all its parts."""
        return self.index_parts().count_drop_rows(drop)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _resolve_table(self, edition: Edition, name: str) -> tuple[Table, TableSnapshot]:
        """Find a table of an edition, landed or built, and its snapshot."""
        self._edition_store.require_readable(edition.id)
        snapshot = editions.find_table_snapshot(edition, name)
        table = self.built_tables.find_table(name, snapshot.snapshot_id) if edition.level == "built" else None
        return table or self._catalog.load_table(name), snapshot

    def _audit_snapshot(
        self, table: Table, snapshot_id: int, admission: AdmissionResult, contract: DataContract
    ) -> None:
        """Read back and audit the rows of a snapshot. Raises CorruptedError after removing them when they differ."""
        verdict = audit_write(
            lambda: table.rows_added_by(snapshot_id), admission, contract, system_values(admission.drop)
        )
        if verdict.passed:
            return
        table.drop_branch(AUDIT_BRANCH)
        codes = ", ".join(sorted({reason.code for reason in verdict.reasons}))
        raise CorruptedError(
            f"drop {admission.drop.id} read back from {table.name} differs from what the enclave returned ({codes})",
            fix="its rows were removed; check the disk, then run `wellspring ingest` again",
        )

    def _drop_stale_staging(self, table: Table) -> tuple[StagedPart, ...]:
        """Drop a staging branch that does not descend from main, and return the parts that it held."""
        main, staging = table.branch_head(MAIN_BRANCH), table.branch_head(STAGING_BRANCH)
        if staging is None or table.descends_from(staging, main):
            return ()
        main_ids = {snapshot.snapshot_id for snapshot in table.iter_ancestry(main)}
        stale_snapshots = [
            snapshot
            for snapshot in table.iter_ancestry(staging)
            if snapshot.snapshot_id not in main_ids and snapshot.properties
        ]
        table.drop_branch(STAGING_BRANCH)
        return tuple(
            staged_part_from_snapshot(table.name, snapshot, published=False) for snapshot in reversed(stale_snapshots)
        )

    def _select_waiting(self, name: str, parts: list[StagedPart]) -> list[StagedPart]:
        """Return those of the parts that are staged and not published, oldest first."""
        table = self._catalog.load_table(name)
        refuse_stale_parts(name, self._drop_stale_staging(table))
        index = self.index_parts()
        requested = [(part.drop, part.replay_number) for part in parts]
        if missing := [drop for drop, replay_number in requested if index.find_part(drop, replay_number) is None]:
            raise Refused(
                f"drops {', '.join(missing)} are no longer staged in {name}", fix="run `wellspring ingest` again"
            )
        waiting = index.list_waiting(name)
        selected = [part for part in waiting if (part.drop, part.replay_number) in requested]
        if selected != waiting[: len(selected)]:
            raise Refused(
                f"rows of {name} follow staged rows that are not published with them", fix="publish all staged parts"
            )
        return selected

    def _containing_edition(self, parts: Sequence[StagedPart]) -> Edition:
        """Return the first edition that holds all these parts."""
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
            raise Refused("no staged part to publish", fix="stage a drop first")
        return containing

    def _apply_publish(self, edition: Edition, step: Recorder) -> None:
        """Switch the tables, save the edition and move the pointer; each part is idempotent."""
        current = self.get_edition()
        if current is not None and any(published.id == edition.id for published in self._edition_store.list_history()):
            return
        if (current.id if current else None) != edition.parent:
            raise CorruptedError(
                f"edition {edition.id} follows {edition.parent}, but the latest is {current.id if current else None}",
                fix="stop; a publish ran before an earlier one was recovered",
            )
        published_ids = {table.table: table.snapshot_id for table in current.tables} if current else {}
        for table in edition.tables:
            if published_ids.get(table.table) != table.snapshot_id:
                self._catalog.load_table(table.table).publish(table.snapshot_id, f"edition-{edition.id}")
                step.crash_point("lake.publish:table-switched")
        self._edition_store.save_edition(edition)
        step.crash_point("lake.publish:edition-written")
        # Again: the process may have been paused after the intent was written.
        with self._fence.fence_writes("landed"):
            self._edition_store.set_pointer(edition)
        step.crash_point("lake.publish:pointer-switched")
