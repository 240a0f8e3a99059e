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

from wellspring.data.features.point_in_time import joined_column_name, point_in_time_join
from wellspring.data.features.views import KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN
from wellspring.errors import ProjectError, Refused
from wellspring.models.spec.artifact import FeatureInput
from wellspring.models.spec.definition import (
    FeatureUse,
    ModelDefinition,
    find_feature,
    resolve_feature_dependencies,
    resolve_features,
)
from wellspring.records.data import Edition, FeatureViews, FeatureViewSpec
from wellspring.records.record import format_instant
from wellspring.records.verdict import Reason, Verdict
from wellspring.stores.online.feast_codec import TOKEN_PATTERN, to_epoch_micros

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

MAX_CATEGORIES = 2000
MAX_UNFIT_SHARE = 0.2
"""Rows that ask nothing, or after their edition was built, are left out; with a larger share nothing is learned."""
ASKED_AT_COLUMN, LABEL_COLUMN = "event_at", "label"
_MICROS_PER_DAY = 86_400_000_000
_NEVER_MICROS = 2**63 - 1


class TableReader(Protocol):
    """What is asked of a lake here: a table as an edition holds it."""

    def read_table(self, edition: Edition, name: str, columns: Sequence[str] | None = None) -> pa.Table: ...


class TrainingSet(NamedTuple):
    """Rows in the order of their questions. used: the model's features; joined: these and what it
    is compared by; truth: of the rows in train or test.

    train, test: numbers of rows, ascending. eligible: rows of the judging window, with a label or without.
    cut: the instant (microseconds) before which a label must have been known to be learned. answered: rows left out
    because their label was known when they were asked; ahead: because they are asked after the edition was built.
    """

    model: ModelDefinition
    features: tuple[FeatureUse, ...]
    joined_features: dict[str, FeatureUse]
    rows: pa.Table
    asked_at: Array
    labels: Array
    train_rows: Array
    test_rows: Array
    eligible_rows: int
    split_at: int
    excluded_label_known: int
    excluded_after_build: int

    def inputs(self, feature_uses: Sequence[FeatureUse] | None = None) -> tuple[FeatureInput, ...]:
        """Describe features as a model takes them; categories that nobody declared are those of the train rows."""
        return tuple(self._describe_input(feature_use) for feature_use in feature_uses or self.features)

    def find(self, names: Sequence[str]) -> tuple[FeatureUse, ...]:
        """Return joined features by `view:feature`, whether the model uses them or only something beside it does."""
        return tuple(self.joined_features[name] for name in names)

    def codes(self, column: str) -> Array:
        """Number the values of one column that were met while learning; others are NaN."""
        import numpy as np
        import pyarrow.compute as pc

        values = self.rows.column(column)
        train_values = pc.unique(values.take(self.train_rows)).drop_null().sort()
        positions: Any = pc.index_in(values, value_set=train_values).cast("float64").combine_chunks()
        return np.asarray(pc.fill_null(positions, math.nan).to_numpy(zero_copy_only=False), dtype=float)

    def matrix(self, inputs: Sequence[FeatureInput], rows: Array | None = None) -> Array:
        """Write features as numbers, a column each, as `Input.code` writes one value."""
        import numpy as np

        selected_rows = self.rows if rows is None else self.rows.take(rows)
        columns = [
            encode_column(
                selected_rows.column(joined_column_name(feature_input.view, feature_input.name)), feature_input
            )
            for feature_input in inputs
        ]
        return np.column_stack(columns) if columns else np.empty((selected_rows.num_rows, 0))

    def _describe_input(self, feature_use: FeatureUse) -> FeatureInput:
        categories = feature_use.feature.categories
        if feature_use.feature.type == "string" and not categories:
            categories = self.categories(feature_use.column_name, feature_use.name)
        return FeatureInput(
            view=feature_use.view.name,
            name=feature_use.feature.name,
            type=feature_use.feature.type,
            categories=categories,
            description=feature_use.feature.description,
        )

    def categories(self, column: str, name: str) -> tuple[str, ...]:
        """List what a column held while learning, sorted. Raises ProjectError for tokens, and for too many."""
        import pyarrow.compute as pc

        values = sorted(pc.unique(self.rows.column(column).take(self.train_rows)).drop_null().to_pylist())
        if any(TOKEN_PATTERN.fullmatch(value) for value in values):
            raise ProjectError(
                f"{name} holds tokens, and a model never keeps one", fix="take it out of the model's features"
            )
        if len(values) > MAX_CATEGORIES:
            raise ProjectError(
                f"{name} has {len(values)} values, and a model takes {MAX_CATEGORIES}",
                fix="declare its categories in the feature definitions, or group them in the transform",
            )
        return tuple(values)


def build_training_set(
    model: ModelDefinition,
    views: FeatureViews,
    lake: TableReader,
    edition: Edition,
    *,
    extra_features: Sequence[str] = (),
) -> TrainingSet:
    """Join a model's features, as known at each question, with the truth, and part the rows by time.

    also: more features (`view:feature`) to join, for comparisons on the same rows. Raises NotFound for a feature,
    table or column that is not there; Refused, inconclusive, when one side of the split has no rows of both kinds, and
    invalid when many rows ask what was known already, or ask after the edition was built.
    """
    features = resolve_features(model, views)
    joined_features = {
        dependency.name: dependency
        for dependency in (
            *resolve_feature_dependencies(model, views),
            *(find_feature(extra_feature, views) for extra_feature in extra_features),
        )
    }
    used_views = _select_views(views, joined_features.values())
    spine = _read_spine(model, used_views, lake, edition)
    tables = {
        view.table: lake.read_table(edition, view.table, _column_names(view))
        for view in _merge_views_by_table(used_views)
    }
    joined_rows = point_in_time_join(spine, used_views.views, tables, instant_column=ASKED_AT_COLUMN)
    label_table = lake.read_table(
        edition, model.label.table, [*model.keys, model.label.column, KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN]
    )
    training_set = _split_by_time(
        model, features, joined_features, joined_rows, label_table, built_at=edition.known_since
    )
    _require_both_classes(training_set)
    return training_set


def encode_column(values: pa.ChunkedArray, feature_input: FeatureInput) -> Array:
    """Write one column as numbers: missing and unknown is NaN, a category its place, a bool 0 or 1."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if feature_input.type == "string":
        values = pc.index_in(values.cast(pa.string()), value_set=pa.array(feature_input.categories, pa.string()))
    encoded: Any = values.cast(pa.float64(), safe=False).combine_chunks()
    return np.asarray(pc.fill_null(encoded, math.nan).to_numpy(zero_copy_only=False), dtype=float)


def _select_views(views: FeatureViews, feature_uses: Iterable[FeatureUse]) -> FeatureViews:
    """Keep of the views what is used, so that nothing else is read."""
    references = {feature_us.name for feature_us in feature_uses}
    selected_views: list[FeatureViewSpec] = []
    for view in views.views:
        features = tuple(feature for feature in view.features if f"{view.name}:{feature.name}" in references)
        if features:
            selected_views.append(view.model_copy(update={"features": features}))
    return views.model_copy(update={"views": tuple(selected_views)})


def _merge_views_by_table(views: FeatureViews) -> list[FeatureViewSpec]:
    """One view a table; of two views of one table, one that has the features of both."""
    views_by_table: dict[str, FeatureViewSpec] = {}
    for view in views.views:
        previous = views_by_table.get(view.table)
        if previous is not None:
            features = tuple(dict.fromkeys((*previous.features, *view.features)))
            view = previous.model_copy(
                update={"features": features, "keys": tuple(dict.fromkeys(previous.keys + view.keys))}
            )
        views_by_table[view.table] = view
    return list(views_by_table.values())


def _column_names(view: FeatureViewSpec) -> list[str]:
    return [*view.keys, *dict.fromkeys(feature.name for feature in view.features), KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN]


def _read_spine(model: ModelDefinition, views: FeatureViews, lake: TableReader, edition: Edition) -> pa.Table:
    """Read the questions: of each key the row that was known first, since later ones correct what was asked then."""
    import numpy as np

    keys = dict.fromkeys(
        (*model.keys, *(key for view in views.views for key in view.keys), model.baselines.entity_column)
    )
    spine_rows = lake.read_table(edition, model.spine, [*keys, KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN]).sort_by(
        [(KNOWN_SINCE_COLUMN, "ascending"), (SEQUENCE_COLUMN, "ascending")]
    )
    _, first_positions = np.unique(_encode_keys(spine_rows, model.keys), return_index=True)
    spine_rows = (
        spine_rows.take(np.sort(first_positions))
        .select([*keys, KNOWN_SINCE_COLUMN])
        .rename_columns([*keys, ASKED_AT_COLUMN])
    )
    # One order for all time: training again must meet the rows as training did.
    return spine_rows.sort_by([(ASKED_AT_COLUMN, "ascending"), *((key, "ascending") for key in model.keys)])


def _split_by_time(
    model: ModelDefinition,
    features: tuple[FeatureUse, ...],
    joined_features: dict[str, FeatureUse],
    joined_rows: pa.Table,
    label_table: pa.Table,
    *,
    built_at: datetime,
) -> TrainingSet:
    """Part the rows by time, and give each the truth that its side may know. built: when the edition was."""
    import numpy as np
    import pyarrow.compute as pc

    asked_at = _to_micros(joined_rows.column(ASKED_AT_COLUMN))
    if not len(asked_at):
        raise _insufficient_rows(model, "the spine has no rows")
    split, before_build = model.split, asked_at <= to_epoch_micros(built_at)
    excluded_after_build = int((~before_build).sum())
    if excluded_after_build > MAX_UNFIT_SHARE * len(asked_at):
        message = f"{excluded_after_build:,} of its {len(asked_at):,} questions are asked after {format_instant(built_at)}, when the edition was built"
        raise _unfit_rows(
            model, "after_build", message, f"mend known_since of {model.spine}: it says when a row was recorded"
        )
    # One question with a wrong year would move the window to where no row is.
    window_end = int(asked_at[before_build].max()) + 1 - split.label_maturity_days * _MICROS_PER_DAY
    split_at = window_end - split.test_days * _MICROS_PER_DAY
    in_train_window, in_test_window = (
        asked_at < split_at - split.gap_days * _MICROS_PER_DAY,
        (asked_at >= split_at) & (asked_at < window_end),
    )
    label_table_at_split = label_table.filter(
        pc.less_equal(pc.cast(label_table.column(KNOWN_SINCE_COLUMN), "int64"), split_at)
    )
    labels_at_split, newest_labels = (
        _newest_labels(model, joined_rows, label_table_at_split),
        _newest_labels(model, joined_rows, label_table),
    )
    label_known = _first_label_instants(model, joined_rows, label_table) <= asked_at
    trainable, testable = in_train_window & ~np.isnan(labels_at_split), in_test_window & ~np.isnan(newest_labels)
    excluded_label_known = int((label_known & (trainable | testable)).sum())
    if excluded_label_known > MAX_UNFIT_SHARE * int((trainable | testable).sum()):
        message = f"the outcome is known when it is asked, of {excluded_label_known:,} rows of {int((trainable | testable).sum()):,}"
        fix = f"let {model.spine} hold a row of each thing that was recorded before its {model.label.column} was known"
        raise _unfit_rows(model, "label_known", message, fix)
    train_rows, test_rows = np.flatnonzero(trainable & ~label_known), np.flatnonzero(testable & ~label_known)
    labels = np.where(in_test_window, newest_labels, labels_at_split)
    eligible_rows = int((in_test_window & ~label_known).sum())
    return TrainingSet(
        model,
        features,
        joined_features,
        joined_rows,
        asked_at,
        labels == 1.0,
        train_rows,
        test_rows,
        eligible_rows,
        split_at,
        excluded_label_known,
        excluded_after_build,
    )


def _newest_labels(model: ModelDefinition, joined_rows: pa.Table, label_table: pa.Table) -> Array:
    """Give each row the newest label among those handed in: 1, 0, or NaN where there is none."""
    import numpy as np
    import pyarrow as pa

    column_name = model.label.column
    if not pa.types.is_boolean(label_table.schema.field(column_name).type):
        raise ProjectError(
            f"{model.label.table}.{column_name} is {label_table.schema.field(column_name).type}, and a label is a bool",
            fix="cast it in the dbt model",
        )
    label_values: Any = (
        _join_labels(model, joined_rows, label_table, column_name, "descending").cast(pa.float64()).combine_chunks()
    )
    return np.asarray(label_values.fill_null(math.nan).to_numpy(zero_copy_only=False), dtype=float)


def _first_label_instants(model: ModelDefinition, joined_rows: pa.Table, label_table: pa.Table) -> Array:
    """Say of each row when its first label was known (microseconds); never, where there is none."""
    import numpy as np
    import pyarrow.compute as pc

    instants = pc.cast(_join_labels(model, joined_rows, label_table, KNOWN_SINCE_COLUMN, "ascending"), "int64")
    return np.asarray(pc.fill_null(instants, _NEVER_MICROS).combine_chunks())


def _join_labels(
    model: ModelDefinition,
    joined_rows: pa.Table,
    label_table: pa.Table,
    column_name: str,
    order: Literal["ascending", "descending"],
) -> pa.ChunkedArray:
    """Put beside each row one column of its label: the label that is first in this order of their instants."""
    import numpy as np
    import pyarrow as pa

    label_rows = label_table.sort_by([(KNOWN_SINCE_COLUMN, order), (SEQUENCE_COLUMN, order)])
    _, first_positions = np.unique(_encode_keys(label_rows, model.keys), return_index=True)
    label_rows = (
        label_rows.take(first_positions).select([*model.keys, column_name]).rename_columns([*model.keys, LABEL_COLUMN])
    )
    rows = joined_rows.select(list(model.keys)).append_column("row", pa.array(range(joined_rows.num_rows), pa.int64()))
    return rows.join(label_rows, keys=list(model.keys), join_type="left outer").sort_by("row").column(LABEL_COLUMN)


def _encode_keys(table: pa.Table, keys: Sequence[str]) -> Array:
    """Number the rows by their key: equal numbers for equal keys."""
    import numpy as np

    codes = np.zeros(table.num_rows, dtype=np.int64)
    for key in keys:
        values: Any = table.column(key).combine_chunks()
        dictionary = values.dictionary_encode("encode")
        codes = codes * (len(dictionary.dictionary) + 1) + np.asarray(dictionary.indices)
        _, codes = np.unique(codes, return_inverse=True)
    return codes


def _to_micros(column: pa.ChunkedArray) -> Array:
    import numpy as np
    import pyarrow.compute as pc

    return np.asarray(pc.cast(column, "int64").combine_chunks())


def _require_both_classes(training_set: TrainingSet) -> None:
    for purpose, rows in (("to learn from", training_set.train_rows), ("that judge", training_set.test_rows)):
        class_count = len(set(training_set.labels[rows].tolist()))
        if class_count < 2:
            raise _insufficient_rows(training_set.model, f"the rows {purpose} ({len(rows)}) are not of both kinds")


def _insufficient_rows(model: ModelDefinition, message: str) -> Refused:
    reason = Reason(code="not_enough_rows", message=f"{model.name} cannot be learned: {message}")
    split_days = model.split.test_days + model.split.gap_days + model.split.label_maturity_days
    return Refused(
        reason.message,
        fix=f"receive more history: the split alone takes {split_days} days; or make its windows shorter",
        verdict=Verdict(subject=model.subject, outcome="inconclusive", reasons=(reason,)),
    )


def _unfit_rows(model: ModelDefinition, code: str, message: str, fix: str) -> Refused:
    reason = Reason(code=code, message=f"{model.name} cannot be learned: {message}")
    verdict = Verdict(subject=model.subject, outcome="invalid", reasons=(reason,))
    return Refused(reason.message, fix=fix, verdict=verdict)
