"""The linear last step of a pipeline: its raw outputs, and the contribution of each feature to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_LINEAR_STEPS = frozenset(
    {
        "ElasticNet", "HuberRegressor", "Lasso", "LinearDiscriminantAnalysis", "LinearRegression", "LinearSVC",
        "LinearSVR", "LogisticRegression", "LogisticRegressionCV", "Perceptron", "Ridge", "RidgeClassifier",
        "SGDClassifier", "SGDRegressor",
    }
)  # fmt: skip
"""Last steps whose decision function or prediction is `rows @ coef_.T + intercept_`."""
_COLUMN_STEPS = frozenset(
    {
        "Binarizer", "KBinsDiscretizer", "MaxAbsScaler", "MinMaxScaler", "OneHotEncoder", "OrdinalEncoder",
        "RobustScaler", "SimpleImputer", "StandardScaler",
    }
)  # fmt: skip
"""Steps whose output columns depend on one input column and one row only, with the same bits for any number of rows."""
_INPUT_MARK = re.compile(r"<(\d+)>")


class LinearStep:
    """A linear last step, and the feature from which each of its columns comes."""

    def __init__(self, coefficients: Array, intercepts: Array, origins: Sequence[int], features: int) -> None:
        import numpy as np

        self._coefficients = coefficients
        self._intercepts = intercepts
        self._origins = np.asarray(origins, dtype=int)
        self._features = features

    def predict_raw(self, columns: Array) -> Array:
        """Return one column per output. Each row is summed by itself, so the bits do not depend on the other rows."""
        import numpy as np

        outputs = [np.ascontiguousarray(columns * weights).sum(axis=1) for weights in self._coefficients]
        return np.column_stack(outputs) + self._intercepts

    def explain_columns(self, columns: Array, output: int) -> list[float]:
        """Return the sum of coefficient times value of the columns of each feature."""
        import numpy as np

        weights = columns * self._coefficients[output]
        return np.bincount(self._origins, weights=weights, minlength=self._features).tolist()


def find_last_step(pipeline: Any) -> Any:
    """Return the last step of a pipeline, through nested pipelines."""
    while hasattr(pipeline, "steps"):
        pipeline = pipeline.steps[-1][1]
    return pipeline


def find_linear_step(pipeline: Any) -> Any | None:
    """Return the last step of a pipeline if it is linear."""
    last = find_last_step(pipeline)
    return last if type(last).__module__.startswith("sklearn.") and type(last).__name__ in _LINEAR_STEPS else None


def open_column_steps(pipeline: Any) -> Any | None:
    """Return the steps before the last one as a pipeline; None if one of them combines columns or rows."""
    steps = _list_preprocessing(pipeline)
    if not all(_treats_columns_alone(step) for step in steps):
        return None
    from sklearn.pipeline import make_pipeline

    return make_pipeline(*steps)


def open_linear_step(pipeline: Any, column_steps: Any, features: int) -> LinearStep | None:
    """Open the linear last step of a fitted pipeline; None if it is not linear. column_steps: the steps before it."""
    import numpy as np

    linear = find_linear_step(pipeline)
    if linear is None:
        return None
    names = list(column_steps.get_feature_names_out([f"<{number}>" for number in range(features)]))
    origins = [int(match[1]) for name in names if (match := _INPUT_MARK.search(name)) is not None]
    coefficients = np.atleast_2d(np.asarray(linear.coef_, dtype=float))
    if len(origins) != len(names) or coefficients.shape[1] != len(names):
        return None
    return LinearStep(coefficients, np.atleast_1d(np.asarray(linear.intercept_, dtype=float)), origins, features)


def _list_preprocessing(pipeline: Any) -> list[Any]:
    """List the steps before the last one, through nested pipelines."""
    steps = [step for _, step in pipeline.steps]
    return [*steps[:-1], *(_list_preprocessing(steps[-1]) if hasattr(steps[-1], "steps") else ())]


def _treats_columns_alone(step: Any) -> bool:
    if step is None or isinstance(step, str):  # "passthrough" and "drop"
        return True
    if not type(step).__module__.startswith("sklearn."):
        return False
    if type(step).__name__ == "Pipeline":
        return all(_treats_columns_alone(inner) for _, inner in step.steps)
    if type(step).__name__ == "ColumnTransformer":
        return all(_treats_columns_alone(inner) for _, inner, _ in step.transformers_)
    if type(step).__name__ == "FunctionTransformer":  # what "passthrough" becomes when it is fitted
        return step.func is None
    return type(step).__name__ in _COLUMN_STEPS and not getattr(step, "add_indicator", False)
