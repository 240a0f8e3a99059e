"""The LightGBM adapter. One seed and one build of LightGBM give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wellspring.errors import CorruptedError, Unavailable

if TYPE_CHECKING:
    import lightgbm
    import numpy as np

    Array = np.ndarray[Any, Any]
    Booster = lightgbm.Booster

NUM_THREADS = 1
"""One thread: more threads would spin on a machine that also serves predictions, and one is fast enough."""
EARLY_STOPPING_ROUNDS = 40
"""Training stops after this many rounds without a lower validation loss."""
REPORT_INTERVAL = 20
"""Rounds between two reports of the validation loss to the search."""


def fit_booster(
    features: Array,
    labels: Array,
    *,
    feature_names: Sequence[str],
    categorical: Sequence[int],
    hyperparameters: Mapping[str, int | float],
    rounds: int,
    seed: int,
    validation: tuple[Array, Array] | None = None,
    on_iteration: Callable[[int, float], None] | None = None,
) -> Booster:
    """Train `rounds` trees. validation: rows and labels for early stopping.

    feature_names: letters, digits and underscores. on_iteration: called with the round and the validation loss every
    REPORT_INTERVAL rounds; it may raise to stop. The same rows, hyperparameters and seed give the same text.
    """
    import lightgbm

    parameters: dict[str, Any] = {
        **hyperparameters,
        "objective": "binary",
        "metric": "binary_logloss" if validation is not None else "none",
        "verbosity": -1,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": NUM_THREADS,
        "max_bin": 127,
        "bin_construct_sample_cnt": 200_000,
        "feature_pre_filter": False,
    }
    train_set = lightgbm.Dataset(
        features,
        labels.astype(float),
        feature_name=list(feature_names),
        categorical_feature=list(categorical),
        params=parameters,
    )
    if validation is None:
        return lightgbm.train(parameters, train_set, num_boost_round=rounds)
    validation_set = train_set.create_valid(validation[0], validation[1].astype(float))
    callbacks: list[Any] = [lightgbm.early_stopping(EARLY_STOPPING_ROUNDS, verbose=False)]
    if on_iteration is not None:
        callbacks.append(_progress_callback(on_iteration))
    return lightgbm.train(
        parameters,
        train_set,
        num_boost_round=rounds,
        valid_sets=[validation_set],
        valid_names=["validation"],
        callbacks=callbacks,
    )


def dump_booster(booster: Booster) -> str:
    """Write a booster as LightGBM's text format, which contains no code."""
    return booster.model_to_string(num_iteration=-1)


def load_booster(booster_text: str) -> Booster:
    """Read a booster's text. Raises CorruptedError when LightGBM rejects it, Unavailable without the package."""
    try:
        import lightgbm
    except ImportError:
        raise Unavailable("lightgbm is not installed", fix="pip install 'wellspring[models]'") from None
    if not booster_text.startswith("tree\n"):
        raise CorruptedError("the model file is not LightGBM text", fix="stop; train the model again")
    try:
        return lightgbm.Booster(model_str=booster_text)
    except lightgbm.basic.LightGBMError:
        raise CorruptedError("LightGBM rejects the model file", fix="stop; train the model again") from None


def predict_raw_scores(booster: Booster, rows: Array) -> Array:
    """Return the raw score (log odds) of each row."""
    import numpy as np

    return np.asarray(booster.predict(rows, raw_score=True, num_threads=NUM_THREADS))


def predict_raw_score(booster: Booster, row: Sequence[float]) -> float:
    """Return the raw score (log odds) of one vector; bit for bit equal to `predict_raw_scores` of it."""
    import numpy as np

    return float(np.asarray(booster.predict(np.array([row], dtype=float), raw_score=True, num_threads=1))[0])


def compute_contributions(booster: Booster, row: Sequence[float]) -> list[float]:
    """Return the contribution of each feature to the raw score of one vector (log odds; TreeSHAP), in its order."""
    import numpy as np

    values = np.asarray(booster.predict(np.array([row], dtype=float), pred_contrib=True, num_threads=1))
    return [float(value) for value in values[0][:-1]]


def compute_importance(booster: Booster) -> list[float]:
    """Return the total loss reduction of each feature's splits during training."""
    return [float(gain) for gain in booster.feature_importance("gain")]


def count_trees_and_leaves(booster: Booster) -> tuple[int, int]:
    """Count the trees, and the leaves of the largest."""
    leaves = [
        int(line.partition("=")[2]) for line in dump_booster(booster).splitlines() if line.startswith("num_leaves=")
    ]
    return len(leaves), max(leaves, default=0)


def get_best_iteration(booster: Booster) -> int:
    """Return the number of trees with the lowest validation loss; all of them without early stopping."""
    return int(booster.best_iteration) if booster.best_iteration > 0 else int(booster.current_iteration())


def _progress_callback(on_iteration: Callable[[int, float], None]) -> Callable[[Any], None]:
    def report_progress(environment: Any) -> None:
        if (environment.iteration + 1) % REPORT_INTERVAL == 0:
            on_iteration(environment.iteration + 1, float(environment.evaluation_result_list[0][2]))

    return report_progress
