"""Search hyperparameters within a budget of trials (Optuna's TPE, one seed), evaluated on rows later in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.models.estimators import lightgbm
from wellspring.models.spec.definition import HyperparameterSearch

if TYPE_CHECKING:
    import numpy as np
    import optuna

    Array = np.ndarray[Any, Any]

Hyperparameters = dict[str, int | float]


_INTEGER_HYPERPARAMETERS = {
    "num_leaves",
    "min_data_in_leaf",
    "max_depth",
    "bagging_freq",
    "min_data_per_group",
    "max_cat_threshold",
}


class SearchResult(NamedTuple):
    """The best hyperparameters. loss: log loss on the validation rows. pruned: count of trials stopped early."""

    hyperparameters: Hyperparameters
    loss: float
    trials: int
    pruned: int


def search_hyperparameters(
    features: Array,
    labels: Array,
    validation: tuple[Array, Array],
    *,
    feature_names: Sequence[str],
    categorical: Sequence[int],
    search: HyperparameterSearch,
    progress: Callable[[int, int], None],
) -> SearchResult:
    """Search; the same rows and seed give the same result. features: in time order; validation: the rows after them."""
    import numpy as np
    import optuna

    # Optuna logs each study to standard error, which belongs to the calling command.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=search.seed, n_startup_trials=min(5, search.trials)),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=lightgbm.REPORT_INTERVAL),
    )
    features, labels = features[-search.rows :], labels[-search.rows :]

    def objective(trial: optuna.Trial) -> float:
        hyperparameters = _suggest_hyperparameters(trial, search)

        def report_loss(round_: int, loss: float) -> None:
            trial.report(loss, round_)
            if trial.should_prune():
                raise optuna.TrialPruned

        booster = lightgbm.fit_booster(
            features,
            labels,
            feature_names=feature_names,
            categorical=categorical,
            hyperparameters=hyperparameters,
            rounds=search.rounds,
            seed=search.seed,
            validation=validation,
            on_iteration=report_loss,
        )
        progress(trial.number + 1, search.trials)
        return float(next(iter(booster.best_score["validation"].values())))

    study.optimize(objective, n_trials=search.trials)
    pruned = sum(trial.state is optuna.trial.TrialState.PRUNED for trial in study.trials)
    best = study.best_trial
    assert best.value is not None
    assert np.isfinite(best.value)
    return SearchResult(dict(best.params), float(best.value), len(study.trials), pruned)


def _suggest_hyperparameters(trial: optuna.Trial, search: HyperparameterSearch) -> Hyperparameters:
    hyperparameters: Hyperparameters = {}
    for name, (low, high, *kind) in sorted(search.space.items()):
        if name in _INTEGER_HYPERPARAMETERS:
            hyperparameters[name] = trial.suggest_int(name, int(low), int(high), log=bool(kind))
        else:
            hyperparameters[name] = trial.suggest_float(name, low, high, log=bool(kind))
    return hyperparameters
