"""Settings looked for within a budget of trials (Optuna's TPE, one seed), each judged on rows later than it learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.models import lightgbm
from wellspring.models.definition import Search

if TYPE_CHECKING:
    import numpy as np
    import optuna

    Array = np.ndarray[Any, Any]

Settings = dict[str, int | float]


_WHOLE = {"num_leaves", "min_data_in_leaf", "max_depth", "bagging_freq", "min_data_per_group", "max_cat_threshold"}


class Chosen(NamedTuple):
    """The best settings. loss: log loss on the rows that judged the trials. pruned: given up early."""

    settings: Settings
    loss: float
    trials: int
    pruned: int


def search(
    rows: Array,
    truth: Array,
    unseen: tuple[Array, Array],
    *,
    names: Sequence[str],
    categorical: Sequence[int],
    how: Search,
    progress: Callable[[int, int], None],
) -> Chosen:
    """Try settings; the same rows and seed choose the same ones. rows: in time order; unseen: the rows after them."""
    import numpy as np
    import optuna

    # Optuna tells each study on standard error, which belongs to the door that runs us.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=how.seed, n_startup_trials=min(5, how.trials)),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=lightgbm.EVERY),
    )
    rows, truth = rows[-how.rows :], truth[-how.rows :]

    def attempt(trial: optuna.Trial) -> float:
        settings = _suggested(trial, how)

        def told(round_: int, loss: float) -> None:
            trial.report(loss, round_)
            if trial.should_prune():
                raise optuna.TrialPruned

        booster = lightgbm.fit(
            rows, truth, names=names, categorical=categorical, settings=settings, rounds=how.rounds, seed=how.seed,
            unseen=unseen, told=told,
        )  # fmt: skip
        progress(trial.number + 1, how.trials)
        return float(next(iter(booster.best_score["unseen"].values())))

    study.optimize(attempt, n_trials=how.trials)
    pruned = sum(each.state is optuna.trial.TrialState.PRUNED for each in study.trials)
    best = study.best_trial
    assert best.value is not None
    assert np.isfinite(best.value)
    return Chosen(dict(best.params), float(best.value), len(study.trials), pruned)


def _suggested(trial: optuna.Trial, how: Search) -> Settings:
    settings: Settings = {}
    for name, (low, high, *kind) in sorted(how.space.items()):
        if name in _WHOLE:
            settings[name] = trial.suggest_int(name, int(low), int(high), log=bool(kind))
        else:
            settings[name] = trial.suggest_float(name, low, high, log=bool(kind))
    return settings
