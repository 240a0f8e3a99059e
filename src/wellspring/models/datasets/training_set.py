"""Build train and test rows: features as known at prediction time, joined with labels, split by time.

A train row has the label that was known before the test window began; a label recorded later counts as unknown. A test
row has the newest label. Rows whose label was already known at prediction time are excluded from training and
evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from wellspring.data.features.point_in_time import joined_column_name, point_in_time_join
from wellspring.data.features.views import KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN
from wellspring.errors import ProjectError, Refused
from wellspring.models.datasets.labels import (
    encode_keys,
    encode_labels,
    find_present,
    first_label_instants,
    join_labels,
    require_label_type,
)
from wellspring.models.spec.definition import (
    FeatureUse,
    ModelDefinition,
    find_feature,
    resolve_feature_dependencies,
    resolve_features,
)
from wellspring.models.spec.inference_spec import FeatureInput
from wellspring.query.port import QueryEngine
from wellspring.records.features import FeatureViews, FeatureViewSpec
from wellspring.records.instants import to_epoch_micros
from wellspring.records.lake import Edition
from wellspring.records.record import format_instant
from wellspring.records.tokens import TOKEN_PATTERN
from wellspring.records.verdict import Reason, Verdict

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

MAX_CATEGORIES = 2000
MAX_UNFIT_SHARE = 0.2
"""The largest share of excluded rows that training accepts, for each of the two causes of exclusion."""
ASKED_AT_COLUMN = "event_at"
_MICROS_PER_DAY = 86_400_000_000


class TableReader(Protocol):
    """The part of the lake that training needs: reading a table of an edition."""

    def read_table(self, edition: Edition, name: str, columns: Sequence[str] | None = None) -> pa.Table: ...


class TrainingSource(NamedTuple):
    """The source of training rows: the tables of editions, and the engine that joins them."""

    lake: TableReader
    engine: QueryEngine


class TrainingSet(NamedTuple):
    """Joined rows in prediction-time order, with their labels and their split.

    features: those of the model. joined_features: these, and those of baselines, subgroups and the live model.
    asked_at: the prediction time of each row, in microseconds. labels: encoded by the task, valid for train and test
    rows only. classes: their names by number; empty for a regression. train_rows, test_rows: row positions, ascending.
    eligible_rows: count of rows in the test window, labeled or not. split_at: the start of the test window, in
    microseconds; train labels were known before it. excluded_label_known: count of rows excluded because their label
    was known at prediction time; excluded_after_build: because they are later than the edition's build.
    """

    model: ModelDefinition
    features: tuple[FeatureUse, ...]
    joined_features: dict[str, FeatureUse]
    rows: pa.Table
    asked_at: Array
    labels: Array
    classes: tuple[str, ...]
    train_rows: Array
    test_rows: Array
    eligible_rows: int
    split_at: int
    excluded_label_known: int
    excluded_after_build: int

    def inputs(self, feature_uses: Sequence[FeatureUse] | None = None) -> tuple[FeatureInput, ...]:
        """Describe features as model inputs; undeclared categories are taken from the train rows."""
        return tuple(self._describe_input(feature_use) for feature_use in feature_uses or self.features)

    def find(self, names: Sequence[str]) -> tuple[FeatureUse, ...]:
        """Return joined features by `view:feature`, whether or not the model itself uses them."""
        return tuple(self.joined_features[name] for name in names)

    def codes(self, column: str) -> Array:
        """Number the values of one column that occur in the train rows; others become NaN."""
        import numpy as np
        import pyarrow.compute as pc

        values = self.rows.column(column)
        train_values = pc.unique(values.take(self.train_rows)).drop_null().sort()
        positions: Any = pc.index_in(values, value_set=train_values).cast("float64").combine_chunks()
        return np.asarray(pc.fill_null(positions, math.nan).to_numpy(zero_copy_only=False), dtype=float)

    def matrix(self, inputs: Sequence[FeatureInput], rows: Array | None = None) -> Array:
        """Encode features as a float matrix, one column each, equal to `FeatureInput.encode_value` per value."""
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
        """List the values of a column in the train rows, sorted. Raises ProjectError for tokens or too many values."""
        import pyarrow.compute as pc

        values = sorted(pc.unique(self.rows.column(column).take(self.train_rows)).drop_null().to_pylist())
        if any(TOKEN_PATTERN.fullmatch(value) for value in values):
            raise ProjectError(
                f"{name} contains tokens, and a model must not store tokens",
                fix="remove it from the model's features",
            )
        if len(values) > MAX_CATEGORIES:
            raise ProjectError(
                f"{name} has {len(values)} categories, and a model accepts at most {MAX_CATEGORIES}",
                fix="declare its categories in the feature definitions, or group them in the transform",
            )
        return tuple(values)


def build_training_set(
    model: ModelDefinition,
    views: FeatureViews,
    source: TrainingSource,
    edition: Edition,
    *,
    extra_features: Sequence[str] = (),
) -> TrainingSet:
    """Join a model's features, as known at prediction time, with labels, and split the rows by time.

    extra_features: more features (`view:feature`) to join, for comparisons on the same rows. Raises NotFound for a
    missing feature, table or column; ProjectError for labels that do not fit the task; Refused, inconclusive, when
    train or test rows do not contain different labels, and invalid when too many labels were known at prediction time
    or too many rows are later than the edition's build.
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
    lake = source.lake
    spine = _read_spine(model, used_views, lake, edition)
    tables = {
        view.table: lake.read_table(edition, view.table, _column_names(view))
        for view in _merge_views_by_table(used_views)
    }
    joined_rows = point_in_time_join(
        spine, used_views.views, tables, engine=source.engine, instant_column=ASKED_AT_COLUMN
    )
    label_table = lake.read_table(
        edition, model.label.table, [*model.keys, model.label.column, KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN]
    )
    training_set = _split_by_time(
        model, features, joined_features, joined_rows, label_table, built_at=edition.known_since
    )
    _require_variety(training_set)
    return training_set


def encode_column(values: pa.ChunkedArray, feature_input: FeatureInput) -> Array:
    """Encode one column as floats: missing and unknown values as NaN, a category as its index, a bool as 0 or 1."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if feature_input.type == "string":
        values = pc.index_in(values.cast(pa.string()), value_set=pa.array(feature_input.categories, pa.string()))
    encoded: Any = values.cast(pa.float64(), safe=False).combine_chunks()
    return np.asarray(pc.fill_null(encoded, math.nan).to_numpy(zero_copy_only=False), dtype=float)


def _select_views(views: FeatureViews, feature_uses: Iterable[FeatureUse]) -> FeatureViews:
    """Reduce the views to the features that are used, so that nothing else is read."""
    references = {feature_use.name for feature_use in feature_uses}
    selected_views: list[FeatureViewSpec] = []
    for view in views.views:
        features = tuple(feature for feature in view.features if f"{view.name}:{feature.name}" in references)
        if features:
            selected_views.append(view.model_copy(update={"features": features}))
    return views.model_copy(update={"views": tuple(selected_views)})


def _merge_views_by_table(views: FeatureViews) -> list[FeatureViewSpec]:
    """Merge views of the same table into one that has all their features and keys."""
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
    """Read the spine: for each key the row that was known first; later rows are corrections of it."""
    import numpy as np

    keys = dict.fromkeys((*model.keys, *(key for view in views.views for key in view.keys), *model.entity_columns))
    spine_rows = lake.read_table(edition, model.spine, [*keys, KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN]).sort_by(
        [(KNOWN_SINCE_COLUMN, "ascending"), (SEQUENCE_COLUMN, "ascending")]
    )
    _, first_positions = np.unique(encode_keys(spine_rows, model.keys), return_index=True)
    spine_rows = (
        spine_rows.take(np.sort(first_positions))
        .select([*keys, KNOWN_SINCE_COLUMN])
        .rename_columns([*keys, ASKED_AT_COLUMN])
    )
    # A fixed order: reproduction must see the rows in the same order as training.
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
    """Split the rows by time, and give each row the label that its side may use. built_at: of the edition."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    asked_at = _to_micros(joined_rows.column(ASKED_AT_COLUMN))
    if not len(asked_at):
        raise _insufficient_rows(model, "the spine has no rows")
    split, before_build = model.split, asked_at <= to_epoch_micros(built_at)
    excluded_after_build = int((~before_build).sum())
    if excluded_after_build > MAX_UNFIT_SHARE * len(asked_at):
        message = (
            f"{excluded_after_build:,} of {len(asked_at):,} spine rows are later than {format_instant(built_at)}, "
            "when the edition was built"
        )
        raise _unfit_rows(
            model,
            "after_build",
            message,
            f"correct known_since of {model.spine}: it is the instant at which a row was recorded",
        )
    # One row with a wrong year would move the window to a time without rows.
    window_end = int(asked_at[before_build].max()) + 1 - split.label_maturity_days * _MICROS_PER_DAY
    split_at = window_end - split.test_days * _MICROS_PER_DAY
    in_train_window, in_test_window = (
        asked_at < split_at - split.gap_days * _MICROS_PER_DAY,
        (asked_at >= split_at) & (asked_at < window_end),
    )
    label_table_at_split = label_table.filter(
        pc.less_equal(pc.cast(label_table.column(KNOWN_SINCE_COLUMN), "int64"), split_at)
    )
    require_label_type(model, label_table)
    labels_at_split, newest_labels = (
        join_labels(model, joined_rows, label_table_at_split, model.label.column, "descending"),
        join_labels(model, joined_rows, label_table, model.label.column, "descending"),
    )
    label_known = first_label_instants(model, joined_rows, label_table) <= asked_at
    trainable, testable = in_train_window & find_present(labels_at_split), in_test_window & find_present(newest_labels)
    excluded_label_known = int((label_known & (trainable | testable)).sum())
    if excluded_label_known > MAX_UNFIT_SHARE * int((trainable | testable).sum()):
        message = (
            f"the label was already known at prediction time in {excluded_label_known:,} of "
            f"{int((trainable | testable).sum()):,} rows"
        )
        fix = f"add rows to {model.spine} that were recorded before their {model.label.column} was known"
        raise _unfit_rows(model, "label_known", message, fix)
    train_rows, test_rows = np.flatnonzero(trainable & ~label_known), np.flatnonzero(testable & ~label_known)
    labels = encode_labels(
        model, pc.if_else(pa.array(in_test_window), newest_labels, labels_at_split), train_rows, test_rows
    )
    eligible_rows = int((in_test_window & ~label_known).sum())
    return TrainingSet(
        model,
        features,
        joined_features,
        joined_rows,
        asked_at,
        labels.values,
        labels.classes,
        train_rows,
        test_rows,
        eligible_rows,
        split_at,
        excluded_label_known,
        excluded_after_build,
    )


def _to_micros(column: pa.ChunkedArray) -> Array:
    import numpy as np
    import pyarrow.compute as pc

    return np.asarray(pc.cast(column, "int64").combine_chunks())


def _require_variety(training_set: TrainingSet) -> None:
    for purpose, rows in (("train", training_set.train_rows), ("test", training_set.test_rows)):
        error = training_set.model.task.variety_error(training_set.labels[rows])
        if error is not None:
            raise _insufficient_rows(training_set.model, f"the {purpose} rows ({len(rows)}) {error}")


def _insufficient_rows(model: ModelDefinition, message: str) -> Refused:
    reason = Reason(code="not_enough_rows", message=f"{model.name} cannot be trained: {message}")
    split_days = model.split.test_days + model.split.gap_days + model.split.label_maturity_days
    return Refused(
        reason.message,
        fix=f"ingest more history: the split needs {split_days} days; or shorten its windows",
        verdict=Verdict(subject=model.subject, outcome="inconclusive", reasons=(reason,)),
    )


def _unfit_rows(model: ModelDefinition, code: str, message: str, fix: str) -> Refused:
    reason = Reason(code=code, message=f"{model.name} cannot be trained: {message}")
    verdict = Verdict(subject=model.subject, outcome="invalid", reasons=(reason,))
    return Refused(reason.message, fix=fix, verdict=verdict)
