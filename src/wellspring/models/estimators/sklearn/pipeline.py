"""Fit a team's scikit-learn pipeline on encoded rows, and compute its raw outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.errors import CorruptedError, ProjectError, Refused, package_missing
from wellspring.models.estimators.port import FeatureColumns, LabeledRows, Objective, ObjectiveKind
from wellspring.models.estimators.sklearn.linear import find_linear_step
from wellspring.query.port import joined_column_name

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

ALL_CATEGORIES = "all"
MISSING_CODE = -1.0
"""The code of a missing category, which one-hot encoding treats as one more category."""
MAX_ONE_HOT_CATEGORIES = 100
_MIN_PROBABILITY = 1e-15
_RETRAIN_FIX = "stop; train the model again"


class FittedPipeline(NamedTuple):
    """A fitted pipeline: a step that encodes categories, then the team's own steps. classes: as in Objective."""

    pipeline: Any
    kind: ObjectiveKind
    classes: int

    def describe(self) -> dict[str, Any]:
        """Return the content of `model.skops`."""
        return {"pipeline": self.pipeline, "kind": self.kind, "classes": self.classes}

    @property
    def uses_decision_function(self) -> bool:
        """Return whether raw outputs come from `decision_function`, not from probabilities."""
        if self.kind == "regression" or not hasattr(self.pipeline, "decision_function"):
            return False
        linear = find_linear_step(self.pipeline) is not None
        return self.kind == "binary" or linear or not hasattr(self.pipeline, "predict_proba")

    def predict_native(self, rows: Array) -> Array:
        """Return what scikit-learn computes: values, decision function or probabilities, one line per row."""
        import numpy as np

        if self.kind == "regression":
            native = self.pipeline.predict(rows)
        elif self.uses_decision_function:
            native = self.pipeline.decision_function(rows)
        else:
            native = self.pipeline.predict_proba(rows)
        return np.asarray(native, dtype=float).reshape(len(rows), -1)

    def predict_raw(self, rows: Array) -> Array:
        """Return the raw outputs of the port."""
        native = self.predict_native(rows)
        if self.kind == "regression" or (self.kind == "binary" and self.uses_decision_function):
            return native
        if self.kind == "binary":
            return log_odds(native[:, -1])
        scores = native if self.uses_decision_function else log_probabilities(native)
        return self.spread_classes(scores)

    def spread_classes(self, scores: Array) -> Array:
        """Give each class a column; one that the train rows did not contain gets the lowest score."""
        import numpy as np

        present = [int(number) for number in self.pipeline.classes_]
        if scores.shape[1] == 1:  # two of more classes were present: the decision function of the second
            scores = np.column_stack([-scores[:, 0], scores[:, 0]])
        if present == list(range(self.classes)):
            return scores
        spread = np.full((len(scores), self.classes), float(np.log(_MIN_PROBABILITY)))
        spread[:, present] = scores
        return spread


def log_odds(probabilities: Array) -> Array:
    """Return the log odds of probabilities as one column; 0 and 1 give a large finite value."""
    import numpy as np

    clipped = np.clip(probabilities, _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    return (np.log(clipped) - np.log1p(-clipped)).reshape(-1, 1)


def log_probabilities(probabilities: Array) -> Array:
    """Return the logarithms of probabilities; 0 gives a large negative value."""
    import numpy as np

    return np.log(np.clip(probabilities, _MIN_PROBABILITY, None))


def check_pipeline(pipeline: Any) -> Any:
    """Return a pipeline if it can be one. Raises ValueError, for the definition of a model."""
    if isinstance(pipeline, type) or not all(hasattr(pipeline, name) for name in ("fit", "predict", "get_params")):
        raise ValueError("give a scikit-learn estimator or pipeline, such as make_pipeline(SimpleImputer(), Ridge())")
    return pipeline


def supports_objective(pipeline: Any, objective: ObjectiveKind) -> bool:
    """Return whether a pipeline ends in a classifier or a regressor, as an objective needs."""
    from sklearn.base import is_classifier, is_regressor

    return is_regressor(pipeline) if objective == "regression" else is_classifier(pipeline)


def build_pipeline(
    pipeline: Any,
    one_hot: Sequence[str] | str,
    columns: FeatureColumns,
    objective: Objective,
    *,
    seed: int,
    max_categories: int | None = MAX_ONE_HOT_CATEGORIES,
) -> FittedPipeline:
    """Put the encoding of categories before a copy of a pipeline, and fix its seed and its number of jobs.

    one_hot: `view:feature` of the categories to encode as one column per category, or ALL_CATEGORIES. max_categories:
    per feature; the rarest ones beyond it share a column. Raises ProjectError for a name that is not a category.
    """
    try:
        from sklearn.base import clone
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import Pipeline, make_pipeline
        from sklearn.preprocessing import OneHotEncoder
    except ImportError:
        raise package_missing("scikit-learn", extra="sklearn") from None
    copied: Any = clone(pipeline)
    copied.set_params(**_fixed_parameters(copied.get_params(deep=True), seed))
    positions = _one_hot_positions(one_hot, columns)
    encoder = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=MISSING_CODE, keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore", max_categories=max_categories, sparse_output=False),
    )
    encode = ColumnTransformer(
        [("one_hot", encoder, positions)] if positions else [], remainder="passthrough", sparse_threshold=0.0
    )
    return FittedPipeline(Pipeline([("encode", encode), ("model", copied)]), objective.kind, objective.classes)


def fit_pipeline(unfitted: FittedPipeline, rows: LabeledRows) -> FittedPipeline:
    """Fit a pipeline. Raises Refused if it cannot be fitted, or has no output for missing values."""
    import numpy as np

    labels = rows.labels.astype(float if unfitted.kind == "regression" else int)
    try:
        unfitted.pipeline.fit(np.ascontiguousarray(rows.features, dtype=float), labels)
    except ValueError as exc:
        # scikit-learn's text may quote values of rows.
        raise Refused(
            f"the pipeline cannot be fitted ({type(exc).__name__})"
            + (": a step does not accept missing values" if "NaN" in str(exc) else ""),
            fix="begin the pipeline with SimpleImputer(), and fit it on rows with missing values first",
        ) from None
    try:
        finite = np.isfinite(unfitted.predict_raw(np.full((1, rows.features.shape[1]), np.nan))).all()
    except ValueError:
        finite = False
    if not finite:
        raise Refused(
            "the pipeline gives no finite output for a row of missing values",
            fix="begin the pipeline with SimpleImputer(): features can be missing when the model is served",
        )
    return unfitted


def parse_fitted(content: dict[str, Any]) -> FittedPipeline:
    """Read the content of `model.skops`. Raises CorruptedError unless it is what `describe` gives."""
    from sklearn.pipeline import Pipeline

    if (
        content.keys() != {"pipeline", "kind", "classes"}
        or not isinstance(content["pipeline"], Pipeline)
        or content["kind"] not in ("binary", "multiclass", "regression")
        or not isinstance(content["classes"], int)
    ):
        raise CorruptedError("model.skops does not hold a fitted pipeline", fix=_RETRAIN_FIX)
    return FittedPipeline(content["pipeline"], content["kind"], content["classes"])


def _fixed_parameters(parameters: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return one job everywhere, and the seed wherever the team set no number."""
    fixed: dict[str, Any] = {}
    for name, value in parameters.items():
        last = name.rpartition("__")[2]
        if last == "n_jobs" and value is not None:  # None is one job
            fixed[name] = 1
        elif last == "random_state" and not isinstance(value, int):
            fixed[name] = seed
    return fixed


def _one_hot_positions(one_hot: Sequence[str] | str, columns: FeatureColumns) -> list[int]:
    if one_hot == ALL_CATEGORIES:
        return list(columns.categorical)
    category_names = {columns.names[position]: position for position in columns.categorical}
    names = [joined_column_name(*name.split(":", 1)) for name in one_hot]
    if missing := [name for name in names if name in columns.names and name not in category_names]:
        raise ProjectError(
            f"one_hot names {', '.join(missing)}, which is a number and not a category", fix="remove it from one_hot"
        )
    # A baseline has fewer columns than the model.
    return [category_names[name] for name in names if name in category_names]
