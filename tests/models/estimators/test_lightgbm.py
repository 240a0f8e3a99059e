import math

import numpy as np
import pytest

from wellspring.errors import CorruptedError
from wellspring.models.estimators import lightgbm

HYPERPARAMETERS = {"num_leaves": 8, "learning_rate": 0.1, "min_data_in_leaf": 20, "feature_fraction": 0.8}


def world(rows: int = 3000):
    chance = np.random.default_rng(2)
    x = np.column_stack([chance.normal(size=rows), chance.integers(0, 5, rows), chance.random(rows)])
    x[chance.random(rows) < 0.1, 0] = math.nan
    z = np.nan_to_num(x[:, 0]) + (x[:, 1] == 3)
    return x, chance.random(rows) < 1 / (1 + np.exp(-z))


def fit_booster(most: int | None = None, **changes):
    rows, labels = (values[:most] for values in world())
    arguments = {
        "feature_names": ["a", "b__c", "d"],
        "categorical": [1],
        "hyperparameters": HYPERPARAMETERS,
        "rounds": 30,
        "seed": 7,
    }
    return lightgbm.fit_booster(rows, labels, **{**arguments, **changes})


def test_the_same_rows_settings_and_seed_give_the_same_bytes():
    assert lightgbm.dump_booster(fit_booster()) == lightgbm.dump_booster(fit_booster())
    assert lightgbm.dump_booster(fit_booster()) != lightgbm.dump_booster(fit_booster(seed=8))


def test_a_booster_read_from_its_text_scores_the_same_bits():
    booster = fit_booster()
    read = lightgbm.load_booster(lightgbm.dump_booster(booster))
    rows = world()[0][:200]
    many = lightgbm.predict_raw_scores(booster, rows)
    assert [lightgbm.predict_raw_score(read, row) for row in rows.tolist()] == many.tolist()


def test_contributions_sum_to_the_score_minus_a_constant():
    booster = fit_booster()
    rows = world()[0][:50].tolist()
    gaps = {
        round(lightgbm.predict_raw_score(booster, row) - sum(lightgbm.compute_contributions(booster, row)), 9)
        for row in rows
    }
    assert len(gaps) == 1
    assert len(lightgbm.compute_contributions(booster, rows[0])) == 3


def test_it_stops_early_and_reports_progress():
    rows, labels = world()
    reported: list[int] = []
    booster = fit_booster(
        2000,
        rounds=600,
        validation=(rows[2000:], labels[2000:]),
        on_iteration=lambda round_, loss: reported.append(round_),
    )
    assert lightgbm.get_best_iteration(booster) < 600
    assert reported[:2] == [20, 40]
    assert lightgbm.get_best_iteration(fit_booster()) == 30


def test_its_size_is_trees_and_leaves():
    trees, leaves = lightgbm.count_trees_and_leaves(fit_booster())
    assert trees == 30
    assert 2 <= leaves <= 8


@pytest.mark.parametrize("text", ["", "\x80\x04\x95", "tree\nversion=v4\nnum_class="])
def test_text_that_is_not_a_model_is_refused(text: str):
    with pytest.raises(CorruptedError):
        lightgbm.load_booster(text)
