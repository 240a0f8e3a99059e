import numpy as np
import pyarrow as pa
import pytest

from tests.builders.synthetic_world import World, binary_task, candidate, model, scores, views
from wellspring.errors import ProjectError
from wellspring.models.datasets.training_set import TrainingSet, build_training_set
from wellspring.models.estimators.lightgbm import LightGBM
from wellspring.models.evaluation import evaluate
from wellspring.models.metrics import binary as metrics
from wellspring.models.spec.artifact import ModelArtifact
from wellspring.models.spec.definition import Subgroup
from wellspring.models.tasks.binary import BinaryCriteria
from wellspring.models.training import fit
from wellspring.records.instants import from_epoch_micros
from wellspring.records.models import Candidate
from wellspring.records.record import format_instant


def train_model(world: World, **changes) -> tuple[TrainingSet, fit.TrainedModel]:
    training_set = build_training_set(model(**changes), views(), world.source, world.edition)
    return training_set, fit.fit_model(training_set, progress=lambda *args: None)


@pytest.fixture(scope="module")
def world() -> World:
    return World(4000)


@pytest.fixture(scope="module")
def built(world: World) -> tuple[TrainingSet, fit.TrainedModel]:
    return train_model(world)


def test_each_metric_has_an_interval_on_test_rows_only(built):
    training_set, trained_model = built
    evaluation = evaluate.evaluate_model(training_set, trained_model)
    figures = evaluation.report.metrics
    assert set(figures) == {"auc", "average_precision", "brier", "calibration_error", "recall", "precision"}
    assert all(figure.low <= figure.high for figure in figures.values())
    assert figures["auc"].rows == len(training_set.test_rows) == evaluation.report.test_rows
    assert not set(training_set.test_rows.tolist()) & set(training_set.train_rows.tolist())
    assert evaluation.report.reason_microseconds > 0
    positives = int(training_set.labels[training_set.test_rows].sum())
    assert evaluation.report.class_rows == {"pays": len(training_set.test_rows) - positives, "denies": positives}


def test_the_three_baselines_use_the_same_rows_and_history_matters(built):
    training_set, trained_model = built
    evaluation = evaluate.evaluate_model(training_set, trained_model)
    baselines = evaluation.report.baselines
    assert set(baselines) == {"columns", "columns_plus_entity", "heuristic"}
    assert {baseline.rows for baseline in baselines.values()} == {len(training_set.test_rows)}
    assert baselines["columns"].high < evaluation.report.metrics["auc"].value
    assert baselines["columns"].high < baselines["columns_plus_entity"].value


def test_the_model_comes_near_the_best_that_there_is(world: World, built):
    training_set, trained_model = built
    claims = world.tables["claim_features"]["claim_id"].to_pylist()
    instant = dict(zip(claims, world.true.tolist(), strict=True))
    true = np.array(
        [instant[claim] for claim in training_set.rows["claim_id"].take(training_set.test_rows).to_pylist()]
    )
    evaluation = evaluate.evaluate_model(training_set, trained_model)
    ceiling = metrics.estimate_auc(true, evaluation.labels).value
    assert evaluation.report.metrics["auc"].value > 0.5 + 0.75 * (ceiling - 0.5)


def test_training_on_shuffled_labels_gives_auc_one_half(built):
    training_set, trained_model = built
    controls = [evaluate.shuffled_label_control(training_set, trained_model, seed=seed).value for seed in range(5)]
    assert np.mean(controls) == pytest.approx(0.5, abs=0.05)


def test_target_leakage_is_detected_by_feature_name(world: World):
    planted = World(4000)
    result = planted.tables["claim_features"]
    outcome = planted.tables["claim_label"].column("is_denied").to_pylist()
    for place, (name, column) in enumerate(
        {
            "charge_amount": pa.array([0.0 if denied else 10.0 + n % 7 for n, denied in enumerate(outcome)]),
            "claim_type": pa.array(["x" if denied else "y" for denied in outcome]),
            "is_replacement": pa.array([None if denied else n % 3 == 0 for n, denied in enumerate(outcome)]),
        }.items()
    ):
        result = result.set_column(result.column_names.index(name), name, column)
        planted.tables["claim_features"] = result
        training_set = build_training_set(model(), views(), planted.source, planted.edition)
        suspected = evaluate.detect_target_leakage(training_set, training_set.inputs())
        assert len(suspected) == place + 1
        assert f"claim.{name}" in suspected
    assert suspected["claim.is_replacement"].startswith("whether it is missing")
    training_set = build_training_set(model(), views(), world.source, world.edition)
    assert evaluate.detect_target_leakage(training_set, training_set.inputs()) == {}


def test_many_rare_categories_are_not_target_leakage():
    world = World(2000)
    result = world.tables["claim_features"]
    distinct_kinds = pa.array([f"kind-{n}" for n in range(2000)])
    world.tables["claim_features"] = result.set_column(
        result.column_names.index("claim_type"), "claim_type", distinct_kinds
    )
    training_set = build_training_set(model(), views(), world.source, world.edition)
    assert evaluate.detect_target_leakage(training_set, training_set.inputs()) == {}


def test_a_subgroup_is_evaluated_from_min_rows_on(world: World):
    changes = {"subgroups": (Subgroup(feature="claim:auth_state", min_rows=200),)}
    training_set, trained_model = train_model(world, **changes)
    groups = evaluate.evaluate_model(training_set, trained_model).report.subgroups
    assert [group.value for group in groups] == ["expired", "none", "valid"]
    assert [group.enough_rows for group in groups] == [group.rows >= 200 for group in groups] == [False, True, True]
    assert sum(group.rows for group in groups) == len(training_set.test_rows)
    assert all("auc" in group.metrics for group in groups)


@pytest.mark.parametrize("feature", ["claim:charge_amount", "claim:claim_type"])
def test_amounts_and_tokens_cannot_define_subgroups(feature: str):
    world = World(3000)
    training_set, trained_model = train_model(world, subgroups=(Subgroup(feature=feature),))
    tokens = pa.chunked_array([training_set.rows["billing_npi"].combine_chunks()])
    column = training_set.rows.column_names.index("claim__claim_type")
    training_set = training_set._replace(rows=training_set.rows.set_column(column, "claim__claim_type", tokens))
    with pytest.raises(ProjectError):
        evaluate._evaluate_subgroups(training_set, np.zeros(len(training_set.test_rows)), trained_model.decoder)
    assert trained_model.spec.model == "denials"


def behind(learned_until: str = "2026-01-02T00:00:00.000000Z", **changes) -> Candidate:
    """Make the candidate behind what is live."""
    return candidate(scores=scores(trained_until=learned_until, **changes))


def test_a_report_records_the_end_of_its_train_rows(built):
    training_set, trained_model = built
    newest = format_instant(from_epoch_micros(int(training_set.asked_at[training_set.train_rows].max())))
    assert evaluate.evaluate_model(training_set, trained_model).report.trained_until == newest


def test_train_rows_of_the_live_model_are_excluded_from_the_comparison(built):
    training_set, trained_model = built
    live = ModelArtifact("a" * 64, trained_model.encode_files()["model.lgb"], trained_model.spec, LightGBM)
    probability = evaluate.evaluate_model(training_set, trained_model).scores
    instant = np.sort(training_set.asked_at[training_set.test_rows])

    def rows(behind: Candidate) -> int:
        comparison = evaluate.compare_to_champion(training_set, trained_model, probability, behind, live)
        assert comparison.comparison is not None, comparison.reason
        return comparison.comparison.difference.rows

    task = binary_task(acceptance=BinaryCriteria(test_rows=100, test_positives=10))
    training_set = training_set._replace(model=model(task=task))
    tenth = len(instant) // 10
    assert rows(behind()) == len(instant)
    assert rows(behind(format_instant(from_epoch_micros(int(instant[tenth]))))) == len(instant) - tenth - 1
    # One that is too old to say so began its window on a day.
    day = format_instant(from_epoch_micros(int(instant[tenth])))[:10]
    began = np.datetime64(day, "us").astype("int64")
    assert rows(behind("", since=day)) == int((instant >= began).sum()) < len(instant)
    few = evaluate.compare_to_champion(
        training_set, trained_model, probability, behind(format_instant(from_epoch_micros(int(instant[-50])))), live
    )
    assert (few.comparison, few.reason) == (
        None,
        "it was trained on rows of this window, and the 49 other rows are too few",
    )
    unknown = evaluate.compare_to_champion(training_set, trained_model, probability, behind(""), live)
    assert (unknown.comparison, unknown.reason) == (None, "its candidate does not record the end of its train rows")


def test_comparison_names_a_feature_whose_type_changed(built):
    training_set, trained_model = built
    first = next(feature for feature in trained_model.spec.features if feature.type == "string")
    second = tuple(
        feature.model_copy(update={"type": "float64", "categories": ()}) if feature is first else feature
        for feature in trained_model.spec.features
    )
    spec = trained_model.spec.model_copy(update={"features": second})
    live = ModelArtifact("a" * 64, trained_model.encode_files()["model.lgb"], spec, LightGBM)
    comparison = evaluate.compare_to_champion(
        training_set, trained_model, np.zeros(len(training_set.test_rows)), behind(), live
    )
    assert (comparison.comparison, comparison.reason) == (
        None, f"it uses {first.view}.{first.name}, which was removed from the features or has another type now",
    )  # fmt: skip


def test_a_candidate_is_compared_with_what_is_live_on_the_same_rows(world: World, built):
    training_set, trained_model = built
    lesser_frame, lesser = train_model(world, features=("claim:claim_type", "claim:charge_amount"))
    live = ModelArtifact("a" * 64, trained_model.encode_files()["model.lgb"], trained_model.spec, LightGBM)
    both = build_training_set(
        lesser_frame.model,
        views(),
        world.source,
        world.edition,
        extra_features=[item.name for item in training_set.features],
    )
    probability = evaluate.evaluate_model(lesser_frame, lesser).scores
    beside = evaluate.compare_to_champion(both, lesser, probability, behind(), live)
    assert beside.champion == behind().id
    assert beside.comparison is not None
    assert beside.comparison.difference.high < 0
    assert beside.comparison.difference.rows == len(training_set.test_rows)
    # A feature that is gone: nothing is compared, and the gate lets nothing pass.
    lost = evaluate.compare_to_champion(lesser_frame, lesser, probability, behind(), live)
    assert lost.comparison is None
    assert "was removed from the features" in lost.reason


def test_the_bins_are_the_models_own(built):
    training_set, trained_model = built
    two = training_set._replace(model=model(task=binary_task(acceptance=BinaryCriteria(calibration_bins=2))))
    many = training_set._replace(model=model(task=binary_task(acceptance=BinaryCriteria(calibration_bins=50))))
    errors = [
        evaluate.evaluate_model(item, trained_model).report.metrics["calibration_error"].value for item in (two, many)
    ]
    assert errors[0] < errors[1]
