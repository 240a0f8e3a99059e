"""Boosted trees: the only file that knows LightGBM. One seed and one build of it give the same bytes."""

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
"""More would wait for each other, spinning, on a machine that also serves; one learns these tables in seconds."""
EARLY_STOPPING_ROUNDS = 40
"""Rounds without gain on unseen rows after which no more trees are grown."""
REPORT_INTERVAL = 20
"""Rounds between two looks at a trial: often enough to give up early, rare enough not to be noise."""


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
    """Grow `rounds` trees. unseen: rows and truth to stop early by, when their loss no longer falls.

    names: of the columns; letters, digits and underscores. told: hears the loss on unseen rows now and then; it
    may raise to give up. The same rows, settings and seed give the same text, on any number of threads.
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
    """Write a booster as LightGBM's own text; nothing in it runs."""
    return booster.model_to_string(num_iteration=-1)


def load_booster(booster_text: str) -> Booster:
    """Read a booster's text. Raises Broken when LightGBM does not take it, Unavailable without the package."""
    try:
        import lightgbm
    except ImportError:
        raise Unavailable("lightgbm is not installed", fix="pip install 'wellspring[models]'") from None
    if not booster_text.startswith("tree\n"):
        raise CorruptedError("the model file is no LightGBM text", fix="stop; train the model again")
    try:
        return lightgbm.Booster(model_str=booster_text)
    except lightgbm.basic.LightGBMError:
        raise CorruptedError("LightGBM does not take the model file", fix="stop; train the model again") from None


def predict_raw_scores(booster: Booster, rows: Array) -> Array:
    """Return the raw score (log odds) of each row."""
    import numpy as np

    return np.asarray(booster.predict(rows, raw_score=True, num_threads=NUM_THREADS))


def predict_raw_score(booster: Booster, row: Sequence[float]) -> float:
    """Return the raw score (log odds) of one vector; equal to the last bit to `raw_scores` of it."""
    import numpy as np

    return float(np.asarray(booster.predict(np.array([row], dtype=float), raw_score=True, num_threads=1))[0])


def compute_contributions(booster: Booster, row: Sequence[float]) -> list[float]:
    """Say by how much each feature pushes the raw score of one vector (log odds; TreeSHAP), in the vector's order."""
    import numpy as np

    values = np.asarray(booster.predict(np.array([row], dtype=float), pred_contrib=True, num_threads=1))
    return [float(value) for value in values[0][:-1]]


def compute_importance(booster: Booster) -> list[float]:
    """Say how much loss the splits on each feature took away while learning."""
    return [float(gain) for gain in booster.feature_importance("gain")]


def count_trees_and_leaves(booster: Booster) -> tuple[int, int]:
    """Count the trees, and the leaves of the largest."""
    leaves = [
        int(line.partition("=")[2]) for line in dump_booster(booster).splitlines() if line.startswith("num_leaves=")
    ]
    return len(leaves), max(leaves, default=0)


def get_best_iteration(booster: Booster) -> int:
    """Say after how many trees it was best on unseen rows; all of them if it never stopped early."""
    return int(booster.best_iteration) if booster.best_iteration > 0 else int(booster.current_iteration())


def _progress_callback(on_iteration: Callable[[int, float], None]) -> Callable[[Any], None]:
    def report_progress(environment: Any) -> None:
        if (environment.iteration + 1) % REPORT_INTERVAL == 0:
            on_iteration(environment.iteration + 1, float(environment.evaluation_result_list[0][2]))

    return report_progress
