import numpy as np
import pyarrow as pa
import pytest

from tests.builders.synthetic_world import World, candidate, model, scores, views
from wellspring.errors import ProjectError
from wellspring.models.datasets.training_set import TrainingSet, build_training_set
from wellspring.models.evaluation import evaluate, metrics
from wellspring.models.spec.artifact import ModelArtifact
from wellspring.models.spec.definition import AcceptanceCriteria, Subgroup
from wellspring.models.training import train
from wellspring.records.models import Candidate
from wellspring.records.record import format_instant
from wellspring.stores.online.feast_codec import from_epoch_micros


def learned(world: World, **changes) -> tuple[TrainingSet, train.TrainedModel]:
    frame = build_training_set(model(**changes), views(), world, world.edition)
    return frame, train.fit_model(frame, progress=lambda *output: None)


@pytest.fixture(scope="module")
def world() -> World:
    return World(4000)


@pytest.fixture(scope="module")
def built(world: World) -> tuple[TrainingSet, train.TrainedModel]:
    return learned(world)


def test_every_figure_has_an_interval_on_rows_that_were_never_learned(built):
    frame, fitted = built
    validated = evaluate.evaluate_model(frame, fitted)
    figures = validated.report.metrics
    assert set(figures) == {"auc", "average_precision", "brier", "calibration_error", "recall", "precision"}
    assert all(figure.low <= figure.high for figure in figures.values())
    assert figures["auc"].rows == len(frame.test) == validated.report.test_rows
    assert not set(frame.test.tolist()) & set(frame.train.tolist())
    assert validated.report.reason_microseconds > 0
    assert validated.positives == frame.truth[frame.test].sum()


def test_the_three_baselines_are_told_on_the_same_rows_and_history_matters(built):
    frame, fitted = built
    validated = evaluate.evaluate_model(frame, fitted)
    baselines = validated.report.baselines
    assert set(baselines) == {"columns", "columns_plus_entity", "heuristic"}
    assert {baseline.rows for baseline in baselines.values()} == {len(frame.test)}
    assert baselines["columns"].high < validated.report.metrics["auc"].value
    assert baselines["columns"].high < baselines["columns_plus_entity"].value


def test_the_model_comes_near_the_best_that_there_is(world: World, built):
    frame, fitted = built
    claims = world.tables["claim_features"]["claim_id"].to_pylist()
    instant = dict(zip(claims, world.true.tolist(), strict=True))
    true = np.array([instant[claim] for claim in frame.rows["claim_id"].take(frame.test).to_pylist()])
    validated = evaluate.evaluate_model(frame, fitted)
    ceiling = metrics.estimate_auc(true, validated.labels).value
    assert validated.report.metrics["auc"].value > 0.5 + 0.75 * (ceiling - 0.5)


def test_shuffled_labels_teach_nothing(built):
    frame, fitted = built
    matches = [evaluate.shuffled_label_control(frame, fitted, seed=seed).value for seed in range(5)]
    assert np.mean(matches) == pytest.approx(0.5, abs=0.05)


def test_a_feature_that_holds_the_answer_is_found_by_name(world: World):
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
        frame = build_training_set(model(), views(), planted, planted.edition)
        matches = evaluate.detect_target_leakage(frame, frame.inputs())
        assert len(matches) == place + 1
        assert f"claim.{name}" in matches
    assert matches["claim.is_replacement"].startswith("it is missing just where")
    frame = build_training_set(model(), views(), world, world.edition)
    assert evaluate.detect_target_leakage(frame, frame.inputs()) == {}


def test_many_rare_categories_are_no_suspicion():
    world = World(2000)
    result = world.tables["claim_features"]
    each_its_own = pa.array([f"kind-{n}" for n in range(2000)])
    world.tables["claim_features"] = result.set_column(
        result.column_names.index("claim_type"), "claim_type", each_its_own
    )
    frame = build_training_set(model(), views(), world, world.edition)
    assert evaluate.detect_target_leakage(frame, frame.inputs()) == {}


def test_a_group_is_judged_only_from_its_minimum_on(world: World):
    changes = {"subgroups": (Subgroup(feature="claim:auth_state", min_rows=200),)}
    frame, fitted = learned(world, **changes)
    groups = evaluate.evaluate_model(frame, fitted).report.subgroups
    assert [group.value for group in groups] == ["expired", "none", "valid"]
    assert [group.enough_rows for group in groups] == [group.rows >= 200 for group in groups] == [False, True, True]
    assert sum(group.rows for group in groups) == len(frame.test_rows)
    assert all(group.auc is not None for group in groups)


@pytest.mark.parametrize("feature", ["claim:charge_amount", "claim:claim_type"])
def test_neither_amounts_nor_tokens_are_groups(feature: str):
    world = World(3000)
    frame, fitted = learned(world, subgroups=(Subgroup(feature=feature),))
    tokens = pa.chunked_array([frame.rows["billing_npi"].combine_chunks()])
    column = frame.rows.column_names.index("claim__claim_type")
    frame = frame._replace(rows=frame.rows.set_column(column, "claim__claim_type", tokens))
    with pytest.raises(ProjectError):
        evaluate._evaluate_subgroups(frame, np.zeros(len(frame.test_rows)), np.zeros(len(frame.test_rows), bool))
    assert fitted.spec.model == "denials"


def behind(learned_until: str = "2026-01-02T00:00:00.000000Z", **changes) -> Candidate:
    """Make the candidate behind what is live."""
    return candidate(scores=scores(trained_until=learned_until, **changes))


def test_a_candidate_says_up_to_when_it_learned(built):
    frame, fitted = built
    newest = format_instant(from_epoch_micros(int(frame.at[frame.train].max())))
    assert evaluate.evaluate_model(frame, fitted).report.trained_until == newest


def test_rows_that_the_live_model_learned_do_not_judge(built):
    frame, fitted = built
    live = ModelArtifact("a" * 64, fitted.files()["model.lgb"].decode(), fitted.recipe)
    probability = evaluate.evaluate_model(frame, fitted).probabilities
    instant = np.sort(frame.at[frame.test])

    def rows(behind: Candidate) -> int:
        matches = evaluate.compare_to_champion(frame, probability, behind, live)
        assert matches.comparison is not None, matches.reason
        return matches.comparison.difference.rows

    bars = AcceptanceCriteria(test_rows=100, test_positives=10)
    frame = frame._replace(model=model(acceptance_criteria=bars))
    tenth = len(instant) // 10
    assert rows(behind()) == len(instant)
    assert rows(behind(format_instant(from_epoch_micros(int(instant[tenth]))))) == len(instant) - tenth - 1
    # One that is too old to say so began its window on a day.
    day = format_instant(from_epoch_micros(int(instant[tenth])))[:10]
    began = np.datetime64(day, "us").astype("int64")
    assert rows(behind("", since=day)) == int((instant >= began).sum()) < len(instant)
    few = evaluate.compare_to_champion(
        frame, probability, behind(format_instant(from_epoch_micros(int(instant[-50])))), live
    )
    assert (few.comparison, few.reason) == (None, "it has learned rows of this window, and 49 others are too few")
    unknown = evaluate.compare_to_champion(frame, probability, behind(""), live)
    assert (unknown.comparison, unknown.reason) == (None, "it does not say up to when it has learned")


def test_a_feature_of_another_type_under_the_live_model_is_told_and_no_value_of_it(built):
    frame, fitted = built
    first = next(feature for feature in fitted.recipe.features if feature.type == "string")
    second = tuple(
        feature.model_copy(update={"type": "float64", "categories": ()}) if feature is first else feature
        for feature in fitted.recipe.features
    )
    recipe = fitted.recipe.model_copy(update={"features": second})
    live = ModelArtifact("a" * 64, fitted.files()["model.lgb"].decode(), recipe)
    matches = evaluate.compare_to_champion(frame, np.zeros(len(frame.test)), behind(), live)
    assert (matches.comparison, matches.reason) == (
        None, f"it uses {first.view}.{first.name}, which is not in the features any more as it was",
    )  # fmt: skip


def test_a_candidate_is_compared_with_what_is_live_on_the_same_rows(world: World, built):
    frame, fitted = built
    lesser_frame, lesser = learned(world, features=("claim:claim_type", "claim:charge_amount"))
    live = ModelArtifact("a" * 64, fitted.files()["model.lgb"].decode(), fitted.recipe)
    both = build_training_set(
        lesser_frame.model, views(), world, world.edition, extra_features=[item.name for item in frame.used]
    )
    probability = evaluate.evaluate_model(lesser_frame, lesser).probabilities
    beside = evaluate.compare_to_champion(both, probability, behind(), live)
    assert beside.champion == behind().id
    assert beside.comparison is not None
    assert beside.comparison.difference.high < 0
    assert beside.comparison.difference.rows == len(frame.test)
    # A feature that is gone: nothing is compared, and the gate lets nothing pass.
    lost = evaluate.compare_to_champion(lesser_frame, probability, behind(), live)
    assert lost.comparison is None
    assert "not in the features any more" in lost.reason


def test_the_bins_are_the_models_own(built):
    frame, fitted = built
    two = frame._replace(model=model(acceptance_criteria=AcceptanceCriteria(calibration_bins=2)))
    many = frame._replace(model=model(acceptance_criteria=AcceptanceCriteria(calibration_bins=50)))
    errors = [evaluate.evaluate_model(item, fitted).report.metrics["calibration_error"].value for item in (two, many)]
    assert errors[0] < errors[1]
