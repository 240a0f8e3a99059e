"""Boosted trees: the only file that knows LightGBM. One seed and one build of it give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wellspring.errors import Broken, Unavailable

if TYPE_CHECKING:
    import lightgbm
    import numpy as np

    Array = np.ndarray[Any, Any]
    Booster = lightgbm.Booster

THREADS = 1
"""More would wait for each other, spinning, on a machine that also serves; one learns these tables in seconds."""
PATIENCE = 40
"""Rounds without gain on unseen rows after which no more trees are grown."""
EVERY = 20
"""Rounds between two looks at a trial: often enough to give up early, rare enough not to be noise."""


def fit(
    rows: Array,
    truth: Array,
    *,
    names: Sequence[str],
    categorical: Sequence[int],
    settings: Mapping[str, int | float],
    rounds: int,
    seed: int,
    unseen: tuple[Array, Array] | None = None,
    told: Callable[[int, float], None] | None = None,
) -> Booster:
    """Grow `rounds` trees. unseen: rows and truth to stop early by, when their loss no longer falls.

    names: of the columns; letters, digits and underscores. told: hears the loss on unseen rows now and then; it
    may raise to give up. The same rows, settings and seed give the same text, on any number of threads.
    """
    import lightgbm

    parameters: dict[str, Any] = {
        **settings,
        "objective": "binary",
        "metric": "binary_logloss" if unseen is not None else "none",
        "verbosity": -1,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": THREADS,
        "max_bin": 127,
        "bin_construct_sample_cnt": 200_000,
        "feature_pre_filter": False,
    }
    train = lightgbm.Dataset(
        rows, truth.astype(float), feature_name=list(names), categorical_feature=list(categorical), params=parameters
    )
    if unseen is None:
        return lightgbm.train(parameters, train, num_boost_round=rounds)
    judge = train.create_valid(unseen[0], unseen[1].astype(float))
    callbacks: list[Any] = [lightgbm.early_stopping(PATIENCE, verbose=False)]
    if told is not None:
        callbacks.append(_watching(told))
    return lightgbm.train(
        parameters, train, num_boost_round=rounds, valid_sets=[judge], valid_names=["unseen"], callbacks=callbacks
    )


def text(booster: Booster) -> str:
    """Write a booster as LightGBM's own text; nothing in it runs."""
    return booster.model_to_string(num_iteration=-1)


def load(model: str) -> Booster:
    """Read a booster's text. Raises Broken when LightGBM does not take it, Unavailable without the package."""
    try:
        import lightgbm
    except ImportError:
        raise Unavailable("lightgbm is not installed", fix="pip install 'wellspring[models]'") from None
    if not model.startswith("tree\n"):
        raise Broken("the model file is no LightGBM text", fix="stop; train the model again")
    try:
        return lightgbm.Booster(model_str=model)
    except lightgbm.basic.LightGBMError:
        raise Broken("LightGBM does not take the model file", fix="stop; train the model again") from None


def raw_scores(booster: Booster, rows: Array) -> Array:
    """Return the raw score (log odds) of each row."""
    import numpy as np

    return np.asarray(booster.predict(rows, raw_score=True, num_threads=THREADS))


def raw_score(booster: Booster, row: Sequence[float]) -> float:
    """Return the raw score (log odds) of one vector; equal to the last bit to `raw_scores` of it."""
    import numpy as np

    return float(np.asarray(booster.predict(np.array([row], dtype=float), raw_score=True, num_threads=1))[0])


def contributions(booster: Booster, row: Sequence[float]) -> list[float]:
    """Say by how much each feature pushes the raw score of one vector (log odds; TreeSHAP), in the vector's order."""
    import numpy as np

    pushed = np.asarray(booster.predict(np.array([row], dtype=float), pred_contrib=True, num_threads=1))
    return [float(each) for each in pushed[0][:-1]]


def importance(booster: Booster) -> list[float]:
    """Say how much loss the splits on each feature took away while learning."""
    return [float(each) for each in booster.feature_importance("gain")]


def size(booster: Booster) -> tuple[int, int]:
    """Count the trees, and the leaves of the largest."""
    leaves = [int(line.partition("=")[2]) for line in text(booster).splitlines() if line.startswith("num_leaves=")]
    return len(leaves), max(leaves, default=0)


def rounds_of(booster: Booster) -> int:
    """Say after how many trees it was best on unseen rows; all of them if it never stopped early."""
    return int(booster.best_iteration) if booster.best_iteration > 0 else int(booster.current_iteration())


def _watching(told: Callable[[int, float], None]) -> Callable[[Any], None]:
    def watch(now: Any) -> None:
        if (now.iteration + 1) % EVERY == 0:
            told(now.iteration + 1, float(now.evaluation_result_list[0][2]))

    return watch
