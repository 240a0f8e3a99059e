"""Materialization of a built edition in the online store: writes the newest row of each entity and verifies it.

Repeating it changes nothing. The store compares versions row by row, so an older edition never replaces newer rows.
The marker of the live edition moves last, so a prediction never names an incomplete edition. During the write,
predictions use rows of both editions: therefore the intent is recorded before the first row is written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from wellspring.data.features import point_in_time
from wellspring.data.features.views import check_views
from wellspring.errors import CorruptedError, Refused
from wellspring.lake import editions, table_hash
from wellspring.records.features import KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN, FeatureRow, FeatureViews, FeatureViewSpec
from wellspring.records.lake import Edition
from wellspring.records.observe import Recorder
from wellspring.records.record import format_instant
from wellspring.records.trust import Entry, IndexedEntry, Ref

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.lake.lake import Lake
    from wellspring.query.port import QueryEngine
    from wellspring.stores.locks.port import WriteFence
    from wellspring.stores.online.port import OnlineWriter

VERIFIED_SAMPLE_ROWS = 200
_READ_BATCH_SIZE = 500


def materialize_views(
    lake: Lake,
    views: FeatureViews,
    edition: Edition,
    online_store: OnlineWriter,
    *,
    engine: QueryEngine,
    step: Recorder,
    fence: WriteFence,
    warm: Iterable[FeatureViewSpec] = (),
    newest: bool = True,
    verify_all: bool = False,
) -> dict[str, int]:
    """Write every view of a built edition to the online store and return the number of rows by view; idempotent.

    views: with its digest, which may be that of a larger set of which these are used. warm: other versions whose rows
    stay in the store. newest: see `OnlineWriter.set_live`. verify_all: read back every row instead of a sample of 200
    per view. Raises Refused for an edition that is not built, ProjectError when its tables do not match the views,
    CorruptedError when a row read back differs.
    """
    warm_by_name: dict[str, list[FeatureViewSpec]] = {}
    for warm_view in warm:
        warm_by_name.setdefault(warm_view.name, []).append(warm_view)
    if edition.level != "built":
        raise Refused(f"{edition.subject} is {edition.level}, not built", fix="run `wellspring transform` first")
    tables = {
        view.table: lake.open_table(edition, view.table)
        for view in views.views
        if _edition_has_table(edition, view.table)
    }
    check_views(views, {name: table.schema for name, table in tables.items()})
    input_refs = [
        Ref(name=edition.subject, digest=editions.edition_digest(edition)),
        Ref(name=f"views:{views.project}", digest=views.digest),
    ]
    row_counts: dict[str, int] = {}
    digests: dict[str, JsonValue] = {}
    superseded_counts: dict[str, int] = {}
    with step("materialize", edition.subject, inputs=input_refs, intent=True) as act:
        for view in views.views:
            rows = point_in_time.latest_rows(view, tables[view.table], engine=engine)
            with fence.fence_writes("online"):
                # A process that was paused longer than its lease stops here; rows of an older edition change nothing.
                pass
            written = online_store.write_rows(view, rows, edition, warm=warm_by_name.get(view.name, ()))
            superseded_counts[view.name] = written.superseded_rows
            step.crash_point("materialize.view:written")
            verify_online_rows(
                view,
                rows,
                edition,
                online_store,
                stride=1 if verify_all else max(1, rows.num_rows // VERIFIED_SAMPLE_ROWS),
            )
            row_counts[view.name] = rows.num_rows
            # Of the rows sorted by key; whoever has the edition computes it again.
            digests[view.name] = table_hash.hash_rows(rows)
        cutoff = knowledge_cutoff(lake, edition)
        with fence.fence_writes("online"):
            is_live = online_store.set_live(edition, as_of=cutoff, views=views.digest, newest=newest)
        step.crash_point("materialize.live:set")
        act.add_facts(
            rows={**row_counts},
            rows_digests=digests,
            superseded_rows={**superseded_counts},
            as_of=format_instant(cutoff),
            live=is_live,
            versions={view.name: view.version for view in views.views},
        )
    return row_counts


def complete_unfinished(unfinished: Iterable[Entry], edition: Edition, *, step: Recorder) -> None:
    """Complete interrupted intents after a later materialization, also of the warm releases. edition: the newest."""
    for intent in unfinished:
        step.complete_after_crash(
            intent.action, intent.subject, intent.id, facts={"finished_by": edition.subject, "recovered": True}
        )


def unfinished_materializations(indexed_entries: Iterable[IndexedEntry]) -> list[Entry]:
    """Return the intents of `materialize` entries without a `done` entry: a crash or an error interrupted them.

    Failed ones count as well: they may have written rows that predictions read until the rows are overwritten.
    """
    entries = [indexed_entry.entry for indexed_entry in indexed_entries]
    completed_intents = {entry.intent for entry in entries if entry.phase == "done"}
    return [entry for entry in entries if entry.phase == "intent" and entry.id not in completed_intents]


def knowledge_cutoff(lake: Lake, edition: Edition) -> datetime:
    """Return the knowledge cutoff of a built edition: the instant at which its landed edition was published."""
    parent = lake.get_edition(edition.parent) if edition.parent else None
    return parent.known_since if parent is not None and parent.level == "landed" else edition.known_since


def verify_online_rows(
    view: FeatureViewSpec, rows: pa.Table, edition: Edition, online_store: OnlineWriter, *, stride: int
) -> int:
    """Compare each `stride`-th row bit by bit with its online row; return the number of compared rows.

    A newer online row counts as equal. Raises CorruptedError when a row differs.
    """
    expected_rows = [
        expected_row(view, row, edition.id) for row in rows.take(list(range(0, rows.num_rows, stride))).to_pylist()
    ]
    mismatches = 0
    for start in range(0, len(expected_rows), _READ_BATCH_SIZE):
        batch = expected_rows[start : start + _READ_BATCH_SIZE]
        for expected, stored in zip(
            batch, online_store.read_rows(view, [feature_row.key for feature_row in batch]), strict=True
        ):
            mismatches += not (
                stored is not None and (rows_equal(expected, stored) or _is_newer_online(stored, expected))
            )
    if mismatches:
        raise CorruptedError(
            f"{mismatches} of {len(expected_rows)} rows of {view.name} in the online store differ from the edition",
            fix="empty the online store and run `wellspring transform` again; if the error persists, stop",
        )
    return len(expected_rows)


def expected_row(view: FeatureViewSpec, row: Mapping[str, Any], edition_id: str) -> FeatureRow:
    """Build the feature row of a view from a row of its table."""
    return FeatureRow(
        view.name,
        tuple(row[key] for key in view.keys),
        {feature.name: row[feature.name] for feature in view.features},
        row[KNOWN_SINCE_COLUMN],
        row[SEQUENCE_COLUMN],
        edition_id,
    )


def rows_equal(first: FeatureRow, second: FeatureRow) -> bool:
    """Return whether two rows are equal bit by bit: NaN equals NaN, zero and negative zero differ."""
    return first._replace(values={}) == second._replace(values={}) and _bit_patterns(first) == _bit_patterns(second)


def _bit_patterns(row: FeatureRow) -> list[tuple[str, str, Any]]:
    return [
        (name, type(value).__name__, struct.pack("<d", value) if isinstance(value, float) else value)
        for name, value in row.values.items()
    ]


def _is_newer_online(online_row: FeatureRow, offline_row: FeatureRow) -> bool:
    """Return whether the online row may differ: it is newer, or has the same version from another edition."""
    online_version, offline_version = (
        (online_row.known_since, online_row.sequence),
        (offline_row.known_since, offline_row.sequence),
    )
    return online_version > offline_version or (
        online_version == offline_version and online_row.edition != offline_row.edition
    )


def _edition_has_table(edition: Edition, table: str) -> bool:
    return any(table_snapshot.table == table for table_snapshot in edition.tables)
