"""From a built edition to the online store: the newest row of each thing, read back and found equal.

Written again, it changes nothing. An older edition never takes the place of newer knowledge: the store itself decides
that, row by row. The marker of the live edition moves last, so that an answer never names an edition that is not whole.
Until then answers rest on rows of both editions: so the intent is in the ledger, and the marker tells under which
definition rows come, before the first one is written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from wellspring.data import editions, joins
from wellspring.data.features import KNOWN, SEQUENCE, check
from wellspring.errors import Broken, Refused
from wellspring.records.data import Edition, FeatureRow, View, Views
from wellspring.records.observe import Step
from wellspring.records.record import stamp
from wellspring.records.trust import Entry, Logged, Ref

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.data.lake import Lake
    from wellspring.stores.online import OnlineWriter

SAMPLE = 200
_AT_ONCE = 500


def materialize(
    lake: Lake,
    views: Views,
    edition: Edition,
    online: OnlineWriter,
    *,
    step: Step,
    unfinished: Iterable[Entry] = (),
    whole: bool = False,
) -> dict[str, int]:
    """Write every view of a built edition online and return how many rows each has; again changes nothing.

    unfinished: intents of this edition or of older ones that were cut short (see `cut_short`); they are settled at the
    end. whole: read every row back, not only a sample of 200 a view. Raises Refused for an edition that is not built,
    ProjectError when the edition's tables are not as the views declare, Broken when what is read back differs.
    """
    if edition.level != "built":
        raise Refused(f"{edition.subject} is {edition.level}, not built", fix="run `wellspring transform` first")
    tables = {view.table: source(lake, edition, view.table) for view in views.views if _holds(edition, view.table)}
    check(views, {name: shape(given) for name, given in tables.items()})
    read = [
        Ref(name=edition.subject, digest=editions.digest(edition)),
        Ref(name=f"views:{views.project}", digest=views.digest),
    ]
    counted: dict[str, int] = {}
    kept: dict[str, int] = {}
    with step("materialize", edition.subject, inputs=read, intent=True) as act:
        online.announce(views.digest)
        for view in views.views:
            rows = joins.newest(view, tables[view.table])
            kept[view.name] = online.write(view, rows, edition).newer_kept
            step.reached("materialize.view:written")
            read_back(view, rows, edition, online, every=1 if whole else max(1, rows.num_rows // SAMPLE))
            counted[view.name] = rows.num_rows
        until = as_of(lake, edition)
        moved = online.point(edition, as_of=until, views=views.digest)
        step.reached("materialize.live:pointed")
        act.note(rows={**counted}, newer_kept={**kept}, as_of=stamp(until), live=moved)
    for one in unfinished:
        step.settle(one.action, one.subject, one.id, facts={"finished_by": edition.subject, "recovered": True})
    return counted


def cut_short(told: Iterable[Logged]) -> list[Entry]:
    """Find, among all entries of `materialize`, the intents that no `done` ends: a crash or an error came first.

    One that failed counts too: it may have put rows where answers read them, and those are read until they are
    written over.
    """
    entries = [each.entry for each in told]
    done = {each.intent for each in entries if each.phase == "done"}
    return [each for each in entries if each.phase == "intent" and each.id not in done]


def as_of(lake: Lake, edition: Edition) -> datetime:
    """Say up to when the knowledge of a built edition goes: to the publish of the landed one that it was built from."""
    parent = lake.edition(edition.parent) if edition.parent else None
    return parent.known_since if parent is not None and parent.level == "landed" else edition.known_since


def source(lake: Lake, edition: Edition, table: str) -> pa.Table | list[str]:
    """Hand out a table for an engine: its files, or an Arrow table when it has none because it is empty."""
    return lake.files(edition, table) or lake.table(edition, table)


def shape(given: pa.Table | Sequence[str]) -> pa.Schema:
    """Read the columns of a table from the feet of its files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(given, pa.Table):
        return given.schema
    return pa.unify_schemas([pq.read_schema(file) for file in given], promote_options="permissive")


def read_back(view: View, rows: pa.Table, edition: Edition, online: OnlineWriter, *, every: int) -> int:
    """Read each `every`-th row online and hold it against the offline one, bit by bit; return how many.

    A row whose newer knowledge was there already is no difference. Raises Broken when one differs.
    """
    offline = [
        offline_row(view, row, edition.id) for row in rows.take(list(range(0, rows.num_rows, every))).to_pylist()
    ]
    wrong = 0
    for start in range(0, len(offline), _AT_ONCE):
        part = offline[start : start + _AT_ONCE]
        for one, other in zip(part, online.read_many(view, [each.key for each in part]), strict=True):
            wrong += not (other is not None and (same(one, other) or _newer(other, one)))
    if wrong:
        what = f"{wrong} of {len(offline)} rows of {view.name} read back from the online store are not the edition's"
        raise Broken(what, fix="empty the online store and run `wellspring transform` again; if it stays, stop")
    return len(offline)


def offline_row(view: View, row: Mapping[str, Any], edition: str) -> FeatureRow:
    """Make the row of a view from a row of its table."""
    return FeatureRow(
        view.name,
        tuple(row[key] for key in view.keys),
        {each.name: row[each.name] for each in view.features},
        row[KNOWN],
        row[SEQUENCE],
        edition,
    )


def same(one: FeatureRow, other: FeatureRow) -> bool:
    """Tell whether two rows are equal to the last bit: not a number equals itself, zero and minus zero differ."""
    return one._replace(values={}) == other._replace(values={}) and _bits(one) == _bits(other)


def _bits(row: FeatureRow) -> list[tuple[str, str, Any]]:
    return [
        (name, type(value).__name__, struct.pack("<d", value) if isinstance(value, float) else value)
        for name, value in row.values.items()
    ]


def _newer(online: FeatureRow, offline: FeatureRow) -> bool:
    """Tell whether what is online was rightly left there: newer knowledge, or the same from a later edition."""
    theirs, ours = (online.known_since, online.sequence), (offline.known_since, offline.sequence)
    return theirs > ours or (theirs == ours and online.edition != offline.edition)


def _holds(edition: Edition, table: str) -> bool:
    return any(each.table == table for each in edition.tables)
