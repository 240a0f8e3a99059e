import math

import numpy as np
import pytest

from wellspring.errors import CorruptedError
from wellspring.models.estimators import lightgbm
from wellspring.models.estimators.lightgbm import LightGBM, LightGBMModel
from wellspring.models.estimators.port import FeatureColumns, FitSettings, LabeledRows, Objective
from wellspring.models.estimators.search import HyperparameterSearch

HYPERPARAMETERS: dict[str, int | float] = {
    "num_leaves": 8,
    "learning_rate": 0.1,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.8,
}


def world(rows: int = 3000):
    chance = np.random.default_rng(2)
    x = np.column_stack([chance.normal(size=rows), chance.integers(0, 5, rows), chance.random(rows)])
    x[chance.random(rows) < 0.1, 0] = math.nan
    z = np.nan_to_num(x[:, 0]) + (x[:, 1] == 3)
    return x, chance.random(rows) < 1 / (1 + np.exp(-z))


def fit_booster(most: int | None = None, **changes):
    rows, labels = (values[:most] for values in world())
    settings = FitSettings(HYPERPARAMETERS, changes.pop("rounds", 30), changes.pop("seed", 7))
    columns, objective = FeatureColumns(("a", "b__c", "d"), (1,)), Objective("binary", 2)
    return lightgbm.fit_booster(LabeledRows(rows, labels), columns, objective, settings, **changes)


def test_the_same_rows_settings_and_seed_give_the_same_bytes():
    assert lightgbm.dump_booster(fit_booster()) == lightgbm.dump_booster(fit_booster())
    assert lightgbm.dump_booster(fit_booster()) != lightgbm.dump_booster(fit_booster(seed=8))


def test_a_booster_read_from_its_text_scores_the_same_bits():
    booster = fit_booster()
    read = LightGBM.load_model(LightGBMModel(booster).dump())
    rows = world()[0][:200]
    many = LightGBMModel(booster).predict_rows(rows)
    assert many.shape == (200, 1)
    assert [list(read.predict_row(row)) for row in rows.tolist()] == many.tolist()


def test_contributions_sum_to_the_score_minus_a_constant():
    model = LightGBMModel(fit_booster())
    rows = world()[0][:50].tolist()
    gaps = {round(model.predict_row(row)[0] - sum(model.explain_row(row, 0)), 9) for row in rows}
    assert len(gaps) == 1
    assert len(model.explain_row(rows[0], 0)) == 3


def test_it_stops_early_and_reports_progress():
    rows, labels = world()
    reported: list[int] = []
    booster = fit_booster(
        2000,
        rounds=600,
        validation=LabeledRows(rows[2000:], labels[2000:]),
        on_iteration=lambda round_, loss: reported.append(round_),
    )
    assert lightgbm.get_best_iteration(booster) < 600
    assert reported[:2] == [20, 40]
    assert lightgbm.get_best_iteration(fit_booster()) == 30


def test_its_size_is_trees_and_leaves():
    size = LightGBMModel(fit_booster()).size()
    assert size["trees"] == 30
    assert 2 <= size["leaves"] <= 8


def test_tuning_records_the_validation_loss_of_each_round():
    rows, labels = world()
    train, validation = LabeledRows(rows[:2000], labels[:2000]), LabeledRows(rows[2000:], labels[2000:])
    tuned = LightGBM(search=HyperparameterSearch(trials=1, rounds=60)).tune(
        train, validation, FeatureColumns(("a", "b", "d"), (1,)), Objective("binary", 2),
        hyperparameters=HYPERPARAMETERS, progress=lambda done, total: None,
    )  # fmt: skip
    (losses,) = tuned.curves.values()
    assert len(losses) >= tuned.settings.rounds
    assert min(losses) == losses[tuned.settings.rounds - 1]
    assert tuned.settings.hyperparameters == HYPERPARAMETERS


@pytest.mark.parametrize(("kind", "classes", "columns"), [("multiclass", 3, 3), ("regression", 0, 1)])
def test_each_objective_has_its_columns(kind, classes: int, columns: int):
    rows, _ = world(600)
    labels = rows[:, 1].clip(0, 2) if classes else rows[:, 2]
    model = LightGBM().fit(
        LabeledRows(rows, labels), FeatureColumns(("a", "b", "d"), ()), Objective(kind, classes),
        FitSettings(HYPERPARAMETERS, 5, 1),
    )  # fmt: skip
    raw = model.predict_rows(rows)
    assert raw.shape == (600, columns)
    assert list(model.predict_row(rows[3].tolist())) == raw[3].tolist()
    whole = [sum(model.explain_row(rows[n].tolist(), columns - 1)) - raw[n, -1] for n in (1, 2, 3)]
    assert max(whole) - min(whole) < 1e-9


@pytest.mark.parametrize("text", ["", "\x80\x04\x95", "tree\nversion=v4\nnum_class="])
def test_text_that_is_not_a_model_is_refused(text: str):
    with pytest.raises(CorruptedError):
        LightGBM.load_model(text.encode("latin-1"))
