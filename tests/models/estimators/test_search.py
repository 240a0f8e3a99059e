import numpy as np

from wellspring.models.estimators.search import search_hyperparameters
from wellspring.models.spec.definition import HyperparameterSearch


def world(rows: int = 1500):
    chance = np.random.default_rng(6)
    x = chance.normal(size=(rows, 4))
    return x, chance.random(rows) < 1 / (1 + np.exp(-x[:, 0] * x[:, 1]))


def run(mode: HyperparameterSearch):
    rows, labels = world()
    result: list[tuple[int, int]] = []
    matches = search_hyperparameters(
        rows[:1000], labels[:1000], (rows[1000:], labels[1000:]), feature_names=["a", "b", "c", "d"], categorical=[], search=mode,
        progress=lambda done, total: result.append((done, total)),
    )  # fmt: skip
    return matches, result


def test_one_seed_chooses_the_same_settings_within_the_budget():
    mode = HyperparameterSearch(trials=4, seed=3, rows=800, rounds=60)
    (matches, result), (again, _) = run(mode), run(mode)
    assert matches == again
    assert matches.trials == 4
    assert result[-1][1] == 4
    assert (
        run(HyperparameterSearch(trials=4, seed=4, rows=800, rounds=60))[0].hyperparameters != matches.hyperparameters
    )


def test_settings_stay_in_their_space_and_whole_numbers_whole():
    space = {"num_leaves": (4, 6), "learning_rate": (0.05, 0.06, "log"), "bagging_freq": (1, 2)}
    matches, _ = run(HyperparameterSearch.model_validate({"trials": 3, "rounds": 40, "space": space}))
    assert set(matches.hyperparameters) == set(space)
    assert isinstance(matches.hyperparameters["num_leaves"], int)
    assert 4 <= matches.hyperparameters["num_leaves"] <= 6
    assert 0.05 <= matches.hyperparameters["learning_rate"] <= 0.06
