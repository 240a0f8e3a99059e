"""Discard staged parts of one table: the parts that were staged after them are written again on what is before them."""

from __future__ import annotations

from collections.abc import Sequence

from wellspring.errors import CorruptedError, Refused
from wellspring.lake.file_pins import FILES_PROPERTY, FilePins
from wellspring.lake.port import AUDIT_BRANCH, MAIN_BRANCH, STAGING_BRANCH, Table
from wellspring.lake.staging import SYSTEM_COLUMNS, StagedPart, staged_part_from_snapshot
from wellspring.lake.table_hash import RowHasher
from wellspring.records.observe import Recorder


def discard_parts(
    table: Table, waiting: Sequence[StagedPart], discarded: Sequence[StagedPart], pins: FilePins, *, step: Recorder
) -> None:
    """Remove staged parts of a table. waiting: all its staged parts, oldest first.

    Raises Refused when a part to discard is published or its publish was interrupted, CorruptedError when rows that are
    written again read back differently.
    """
    places = [place for place, part in enumerate(waiting) if part in discarded]
    if len(places) < len(discarded) or table.descends_from(
        table.branch_head(MAIN_BRANCH), min(discarded, key=waiting.index).snapshot_id
    ):
        raise Refused(
            f"rows of {table.name} to discard are published, or their publish was interrupted",
            fix="run `wellspring ingest`, which finishes the publish",
        )
    remaining, later = waiting[: places[0]], [part for part in waiting[places[0] :] if part not in discarded]
    head = remaining[-1].snapshot_id if remaining else table.branch_head(MAIN_BRANCH)
    facts = {"operation": "discard"}
    with step("repair", f"dataset:{table.name}", inputs=[part.rows_ref for part in discarded], facts={**facts}):
        for part in later:
            head = _stage_again(table, part, head, pins, step)
            step.crash_point("lake.discard:appended")
        if head is None or not (remaining or later):
            table.drop_branch(STAGING_BRANCH)
        else:
            table.move_staging(head)


def _stage_again(table: Table, part: StagedPart, parent_id: int | None, pins: FilePins, step: Recorder) -> int:
    """Write the rows of a staged part again on top of another snapshot, and return the new one."""
    if parent_id is None:
        raise CorruptedError(f"table {table.name} has no first snapshot", fix="restore the lake from a copy")
    properties = dict(next(table.iter_ancestry(part.snapshot_id)).properties)
    properties.pop(FILES_PROPERTY, None)
    with step("stage", f"drop:{part.drop}", inputs=[part.rows_ref]) as act:
        snapshot_id = table.append_rows(table.rows_added_by(part.snapshot_id), parent_id, properties, pins.pin_snapshot)
        if _hash_part(table, snapshot_id) != part.rows_digest:
            table.drop_branch(AUDIT_BRANCH)
            raise CorruptedError(
                f"rows of drop {part.drop} read back from {table.name} differ from what was staged",
                fix="nothing was discarded; check the disk, then try again",
            )
        staged = staged_part_from_snapshot(table.name, next(table.iter_ancestry(snapshot_id)), published=False)
        act.add_outputs(staged.snapshot_ref)
        act.add_facts(
            replay_number=part.replay_number,
            table=table.name,
            rows=part.rows,
            contract=f"{part.contract}@{part.contract_version}",
            files=staged.files,
        )
    return snapshot_id


def _hash_part(table: Table, snapshot_id: int) -> str:
    """Return the digest of the rows that a snapshot added, as the enclave computed it: without the system columns."""
    import pyarrow as pa

    rows = table.rows_added_by(snapshot_id)
    names = [name for name in rows.schema.names if name not in SYSTEM_COLUMNS]
    hasher = RowHasher(pa.schema([rows.schema.field(name) for name in names]))
    for batch in rows:
        hasher.update(batch.select(names))
    return hasher.hexdigest()
