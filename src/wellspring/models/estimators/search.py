"""Search LightGBM's hyperparameters within a budget of trials (Optuna's TPE, one seed), evaluated on later rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from wellspring.models.estimators.port import Hyperparameters, TuningProgress
from wellspring.records.record import Frozen

if TYPE_CHECKING:
    import optuna

HyperparameterName = Literal[
    "num_leaves", "max_depth", "learning_rate", "min_data_in_leaf", "min_gain_to_split", "feature_fraction",
    "bagging_fraction", "bagging_freq", "lambda_l1", "lambda_l2", "cat_smooth", "cat_l2", "max_cat_threshold",
    "min_data_per_group",
]  # fmt: skip
REPORT_INTERVAL = 20
"""Rounds between two reports of the validation loss to the search."""
LossReport = Callable[[int, float], None]
"""Called with the round and the validation loss; it may raise to stop the trial."""
_INTEGER_HYPERPARAMETERS = {
    "num_leaves",
    "min_data_in_leaf",
    "max_depth",
    "bagging_freq",
    "min_data_per_group",
    "max_cat_threshold",
}


class HyperparameterSearch(Frozen):
    """The hyperparameter search. rows: the newest rows that a trial trains on (the final model uses all).

    space: (low, high) or (low, high, "log") by LightGBM's name of a hyperparameter.
    """

    trials: int = Field(default=10, ge=1, le=500)
    seed: int = Field(default=7, ge=0, lt=2**31)
    rows: int = Field(default=12_000, ge=100)
    rounds: int = Field(default=300, ge=10, le=5000)
    space: dict[HyperparameterName, tuple[float, float] | tuple[float, float, Literal["log"]]] = {
        "num_leaves": (4, 31),
        "learning_rate": (0.04, 0.12, "log"),
        "min_data_in_leaf": (20, 300, "log"),
        "feature_fraction": (0.4, 1.0),
        "lambda_l2": (0.1, 50.0, "log"),
        "cat_smooth": (5.0, 100.0, "log"),
    }


def search_hyperparameters(
    measure_loss: Callable[[Hyperparameters, LossReport], float],
    search: HyperparameterSearch,
    *,
    progress: TuningProgress,
) -> Hyperparameters:
    """Return the hyperparameters with the lowest loss; the same losses and seed give the same ones.

    measure_loss: fit one trial and return its loss.
    """
    import math

    import optuna

    # Optuna logs each study to standard error, which belongs to the calling command.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=search.seed, n_startup_trials=min(5, search.trials)),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=REPORT_INTERVAL),
    )

    def run_trial(trial: optuna.Trial) -> float:
        def report_loss(round_: int, loss: float) -> None:
            trial.report(loss, round_)
            if trial.should_prune():
                raise optuna.TrialPruned

        loss = measure_loss(_suggest_hyperparameters(trial, search), report_loss)
        progress(trial.number + 1, search.trials)
        return loss

    study.optimize(run_trial, n_trials=search.trials)
    best = study.best_trial
    assert best.value is not None
    assert math.isfinite(best.value)
    return dict(best.params)


def _suggest_hyperparameters(trial: optuna.Trial, search: HyperparameterSearch) -> Hyperparameters:
    hyperparameters: Hyperparameters = {}
    for name, (low, high, *kind) in sorted(search.space.items()):
        if name in _INTEGER_HYPERPARAMETERS:
            hyperparameters[name] = trial.suggest_int(name, int(low), int(high), log=bool(kind))
        else:
            hyperparameters[name] = trial.suggest_float(name, low, high, log=bool(kind))
    return hyperparameters
