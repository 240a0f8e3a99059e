"""The rows to learn from and the rows to be judged by: features as known at each question, and the truth as known then.

A row to learn from has a label that was known before the judging window began: one that was recorded later is treated
as unknown, whatever the edition knows today. A row that judges has the newest label there is. A row whose label was
known already when it was asked about asks nothing: it neither teaches nor judges.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from wellspring.data.features import KNOWN, SEQUENCE
from wellspring.data.joins import as_known, column
from wellspring.errors import ProjectError, Refused
from wellspring.models.artefact import Input
from wellspring.models.definition import Model, Used, find, resolve, rests_on
from wellspring.records.data import Edition, View, Views
from wellspring.records.record import stamp
from wellspring.records.verdict import Reason, Verdict
from wellspring.stores.layout import TOKEN, microseconds

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

MOST_CATEGORIES = 2000
MOST_UNFIT = 0.2
"""Rows that ask nothing, or after their edition was built, are left out; with a larger share nothing is learned."""
AT, LABEL = "event_at", "label"
_DAY = 86_400_000_000
_NEVER = 2**63 - 1


class Reader(Protocol):
    """What is asked of a lake here: a table as an edition holds it."""

    def table(self, edition: Edition, name: str, columns: Sequence[str] | None = None) -> pa.Table: ...


class Frame(NamedTuple):
    """Rows in the order of their questions. used: the model's features; joined: these and what it
    is compared by; truth: of the rows in train or test.

    train, test: numbers of rows, ascending. eligible: rows of the judging window, with a label or without.
    cut: the instant (microseconds) before which a label must have been known to be learned. answered: rows left out
    because their label was known when they were asked; ahead: because they are asked after the edition was built.
    """

    model: Model
    used: tuple[Used, ...]
    joined: dict[str, Used]
    rows: pa.Table
    at: Array
    truth: Array
    train: Array
    test: Array
    eligible: int
    cut: int
    answered: int
    ahead: int

    def inputs(self, used: Sequence[Used] | None = None) -> tuple[Input, ...]:
        """Describe features as a model takes them; categories that nobody declared are those of the train rows."""
        return tuple(self._input(each) for each in used or self.used)

    def find(self, names: Sequence[str]) -> tuple[Used, ...]:
        """Return joined features by `view:feature`, whether the model uses them or only something beside it does."""
        return tuple(self.joined[name] for name in names)

    def codes(self, column: str) -> Array:
        """Number the values of one column that were met while learning; others are NaN."""
        import numpy as np
        import pyarrow.compute as pc

        values = self.rows.column(column)
        met = pc.unique(values.take(self.train)).drop_null().sort()
        places: Any = pc.index_in(values, value_set=met).cast("float64").combine_chunks()
        return np.asarray(pc.fill_null(places, math.nan).to_numpy(zero_copy_only=False), dtype=float)

    def matrix(self, inputs: Sequence[Input], rows: Array | None = None) -> Array:
        """Write features as numbers, a column each, as `Input.code` writes one value."""
        import numpy as np

        chosen = self.rows if rows is None else self.rows.take(rows)
        columns = [coded(chosen.column(column(each.view, each.name)), each) for each in inputs]
        return np.column_stack(columns) if columns else np.empty((chosen.num_rows, 0))

    def _input(self, used: Used) -> Input:
        categories = used.feature.categories
        if used.feature.type == "string" and not categories:
            categories = self.categories(used.column, used.name)
        return Input(
            view=used.view.name,
            name=used.feature.name,
            type=used.feature.type,
            categories=categories,
            what=used.feature.what,
        )

    def categories(self, column: str, name: str) -> tuple[str, ...]:
        """List what a column held while learning, sorted. Raises ProjectError for tokens, and for too many."""
        import pyarrow.compute as pc

        seen = sorted(pc.unique(self.rows.column(column).take(self.train)).drop_null().to_pylist())
        if any(TOKEN.fullmatch(each) for each in seen):
            raise ProjectError(
                f"{name} holds tokens, and a model never keeps one", fix="take it out of the model's features"
            )
        if len(seen) > MOST_CATEGORIES:
            raise ProjectError(
                f"{name} has {len(seen)} values, and a model takes {MOST_CATEGORIES}",
                fix="declare its categories in the feature definitions, or group them in the transform",
            )
        return tuple(seen)


def gather(model: Model, views: Views, lake: Reader, edition: Edition, *, also: Sequence[str] = ()) -> Frame:
    """Join a model's features, as known at each question, with the truth, and part the rows by time.

    also: more features (`view:feature`) to join, for comparisons on the same rows. Raises NotFound for a feature,
    table or column that is not there; Refused, inconclusive, when one side of the split has no rows of both kinds, and
    invalid when many rows ask what was known already, or ask after the edition was built.
    """
    used = resolve(model, views)
    wanted = {each.name: each for each in (*rests_on(model, views), *(find(each, views) for each in also))}
    chosen = _only(views, wanted.values())
    spine = _spine(model, chosen, lake, edition)
    tables = {view.table: lake.table(edition, view.table, _columns(view)) for view in _by_table(chosen)}
    joined = as_known(spine, chosen.views, tables, at=AT)
    labels = lake.table(edition, model.label.table, [*model.keys, model.label.column, KNOWN, SEQUENCE])
    frame = _part(model, used, wanted, joined, labels, built=edition.known_since)
    _enough(frame)
    return frame


def coded(values: pa.ChunkedArray, given: Input) -> Array:
    """Write one column as numbers: missing and unknown is NaN, a category its place, a bool 0 or 1."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if given.type == "string":
        values = pc.index_in(values.cast(pa.string()), value_set=pa.array(given.categories, pa.string()))
    whole: Any = values.cast(pa.float64(), safe=False).combine_chunks()
    return np.asarray(pc.fill_null(whole, math.nan).to_numpy(zero_copy_only=False), dtype=float)


def _only(views: Views, used: Iterable[Used]) -> Views:
    """Keep of the views what is used, so that nothing else is read."""
    names = {each.name for each in used}
    kept: list[View] = []
    for view in views.views:
        features = tuple(each for each in view.features if f"{view.name}:{each.name}" in names)
        if features:
            kept.append(view.model_copy(update={"features": features}))
    return views.model_copy(update={"views": tuple(kept)})


def _by_table(views: Views) -> list[View]:
    """One view a table; of two views of one table, one that has the features of both."""
    by: dict[str, View] = {}
    for view in views.views:
        before = by.get(view.table)
        if before is not None:
            features = tuple(dict.fromkeys((*before.features, *view.features)))
            view = before.model_copy(
                update={"features": features, "keys": tuple(dict.fromkeys(before.keys + view.keys))}
            )
        by[view.table] = view
    return list(by.values())


def _columns(view: View) -> list[str]:
    return [*view.keys, *dict.fromkeys(each.name for each in view.features), KNOWN, SEQUENCE]


def _spine(model: Model, views: Views, lake: Reader, edition: Edition) -> pa.Table:
    """Read the questions: of each key the row that was known first, since later ones correct what was asked then."""
    import numpy as np

    keys = dict.fromkeys((*model.keys, *(key for view in views.views for key in view.keys), model.baselines.provider))
    told = lake.table(edition, model.spine, [*keys, KNOWN, SEQUENCE]).sort_by(
        [(KNOWN, "ascending"), (SEQUENCE, "ascending")]
    )
    _, first = np.unique(_codes(told, model.keys), return_index=True)
    told = told.take(np.sort(first)).select([*keys, KNOWN]).rename_columns([*keys, AT])
    # One order for all time: training again must meet the rows as training did.
    return told.sort_by([(AT, "ascending"), *((key, "ascending") for key in model.keys)])


def _part(
    model: Model,
    used: tuple[Used, ...],
    wanted: dict[str, Used],
    joined: pa.Table,
    labels: pa.Table,
    *,
    built: datetime,
) -> Frame:
    """Part the rows by time, and give each the truth that its side may know. built: when the edition was."""
    import numpy as np
    import pyarrow.compute as pc

    at = _micros(joined.column(AT))
    if not len(at):
        raise _not_enough(model, "the spine has no rows")
    split, here = model.split, at <= microseconds(built)
    ahead = int((~here).sum())
    if ahead > MOST_UNFIT * len(at):
        what = f"{ahead:,} of its {len(at):,} questions are asked after {stamp(built)}, when the edition was built"
        raise _unfit(model, "ahead", what, f"mend known_since of {model.spine}: it says when a row was recorded")
    # One question with a wrong year would move the window to where no row is.
    end = int(at[here].max()) + 1 - split.settle_days * _DAY
    cut = end - split.test_days * _DAY
    early, late = at < cut - split.gap_days * _DAY, (at >= cut) & (at < end)
    then = labels.filter(pc.less_equal(pc.cast(labels.column(KNOWN), "int64"), cut))
    learned, newest = _truth(model, joined, then), _truth(model, joined, labels)
    answered = _told(model, joined, labels) <= at
    taught, judging = early & ~np.isnan(learned), late & ~np.isnan(newest)
    known = int((answered & (taught | judging)).sum())
    if known > MOST_UNFIT * int((taught | judging).sum()):
        what = f"the outcome is known when it is asked, of {known:,} rows of {int((taught | judging).sum()):,}"
        fix = f"let {model.spine} hold a row of each thing that was recorded before its {model.label.column} was known"
        raise _unfit(model, "answered", what, fix)
    train, test = np.flatnonzero(taught & ~answered), np.flatnonzero(judging & ~answered)
    truth = np.where(late, newest, learned)
    eligible = int((late & ~answered).sum())
    return Frame(model, used, wanted, joined, at, truth == 1.0, train, test, eligible, cut, known, ahead)


def _truth(model: Model, joined: pa.Table, labels: pa.Table) -> Array:
    """Give each row the newest label among those handed in: 1, 0, or NaN where there is none."""
    import numpy as np
    import pyarrow as pa

    name = model.label.column
    if not pa.types.is_boolean(labels.schema.field(name).type):
        raise ProjectError(
            f"{model.label.table}.{name} is {labels.schema.field(name).type}, and a label is a bool",
            fix="cast it in the dbt model",
        )
    whole: Any = _beside(model, joined, labels, name, "descending").cast(pa.float64()).combine_chunks()
    return np.asarray(whole.fill_null(math.nan).to_numpy(zero_copy_only=False), dtype=float)


def _told(model: Model, joined: pa.Table, labels: pa.Table) -> Array:
    """Say of each row when its first label was known (microseconds); never, where there is none."""
    import numpy as np
    import pyarrow.compute as pc

    first = pc.cast(_beside(model, joined, labels, KNOWN, "ascending"), "int64")
    return np.asarray(pc.fill_null(first, _NEVER).combine_chunks())


def _beside(
    model: Model, joined: pa.Table, labels: pa.Table, name: str, order: Literal["ascending", "descending"]
) -> pa.ChunkedArray:
    """Put beside each row one column of its label: the label that is first in this order of their instants."""
    import numpy as np
    import pyarrow as pa

    told = labels.sort_by([(KNOWN, order), (SEQUENCE, order)])
    _, first = np.unique(_codes(told, model.keys), return_index=True)
    told = told.take(first).select([*model.keys, name]).rename_columns([*model.keys, LABEL])
    rows = joined.select(list(model.keys)).append_column("row", pa.array(range(joined.num_rows), pa.int64()))
    return rows.join(told, keys=list(model.keys), join_type="left outer").sort_by("row").column(LABEL)


def _codes(table: pa.Table, keys: Sequence[str]) -> Array:
    """Number the rows by their key: equal numbers for equal keys."""
    import numpy as np

    codes = np.zeros(table.num_rows, dtype=np.int64)
    for key in keys:
        values: Any = table.column(key).combine_chunks()
        places = values.dictionary_encode("encode")
        codes = codes * (len(places.dictionary) + 1) + np.asarray(places.indices)
        _, codes = np.unique(codes, return_inverse=True)
    return codes


def _micros(column: pa.ChunkedArray) -> Array:
    import numpy as np
    import pyarrow.compute as pc

    return np.asarray(pc.cast(column, "int64").combine_chunks())


def _enough(frame: Frame) -> None:
    for name, rows in (("to learn from", frame.train), ("that judge", frame.test)):
        kinds = len(set(frame.truth[rows].tolist()))
        if kinds < 2:
            raise _not_enough(frame.model, f"the rows {name} ({len(rows)}) are not of both kinds")


def _not_enough(model: Model, what: str) -> Refused:
    reason = Reason(code="rows", what=f"{model.name} cannot be learned: {what}")
    span = model.split.test_days + model.split.gap_days + model.split.settle_days
    return Refused(
        reason.what,
        fix=f"receive more history: the split alone takes {span} days; or make its windows shorter",
        verdict=Verdict(subject=model.subject, outcome="inconclusive", reasons=(reason,)),
    )


def _unfit(model: Model, code: str, what: str, fix: str) -> Refused:
    reason = Reason(code=code, what=f"{model.name} cannot be learned: {what}")
    verdict = Verdict(subject=model.subject, outcome="invalid", reasons=(reason,))
    return Refused(reason.what, fix=fix, verdict=verdict)
