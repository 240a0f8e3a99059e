import numpy as np

from wellspring.models.estimators.lightgbm import fit_booster
from wellspring.models.estimators.port import FeatureColumns, FitSettings, LabeledRows, Objective
from wellspring.models.estimators.search import HyperparameterSearch, search_hyperparameters


def world(rows: int = 1500):
    chance = np.random.default_rng(6)
    x = chance.normal(size=(rows, 4))
    return x, chance.random(rows) < 1 / (1 + np.exp(-x[:, 0] * x[:, 1]))


def run_search(search: HyperparameterSearch):
    rows, labels = world()
    progress: list[tuple[int, int]] = []
    train, validation = LabeledRows(rows[200:1000], labels[200:1000]), LabeledRows(rows[1000:], labels[1000:])
    columns, objective = FeatureColumns(("a", "b", "c", "d"), ()), Objective("binary", 2)

    def measure_loss(hyperparameters, report):
        settings = FitSettings(hyperparameters, search.rounds, search.seed)
        booster = fit_booster(train, columns, objective, settings, validation=validation, on_iteration=report)
        return booster.best_score["validation"]["binary_logloss"]

    best = search_hyperparameters(measure_loss, search, progress=lambda done, total: progress.append((done, total)))
    return best, progress


def test_one_seed_chooses_the_same_settings_within_the_budget():
    search = HyperparameterSearch(trials=4, seed=3, rounds=60)
    (best, progress), (again, _) = run_search(search), run_search(search)
    assert best == again
    assert progress[-1][1] == 4
    assert run_search(HyperparameterSearch(trials=4, seed=4, rounds=60))[0] != best


def test_settings_stay_in_their_space_and_whole_numbers_whole():
    space = {"num_leaves": (4, 6), "learning_rate": (0.05, 0.06, "log"), "bagging_freq": (1, 2)}
    best, _ = run_search(HyperparameterSearch.model_validate({"trials": 3, "rounds": 40, "space": space}))
    assert set(best) == set(space)
    assert isinstance(best["num_leaves"], int)
    assert 4 <= best["num_leaves"] <= 6
    assert 0.05 <= best["learning_rate"] <= 0.06
