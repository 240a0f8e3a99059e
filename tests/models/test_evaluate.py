import numpy as np
import pyarrow as pa
import pytest

from tests.models.synthetic import World, candidate, model, scores, views
from wellspring.errors import ProjectError
from wellspring.models import evaluate, statistics, train
from wellspring.models.artefact import Artefact
from wellspring.models.definition import Bars, Subgroup
from wellspring.models.frame import Frame, gather
from wellspring.records.models import Candidate
from wellspring.records.record import stamp
from wellspring.stores.layout import instant


def learned(world: World, **changes) -> tuple[Frame, train.Fitted]:
    frame = gather(model(**changes), views(), world, world.edition)
    return frame, train.fit(frame, progress=lambda *said: None)


@pytest.fixture(scope="module")
def world() -> World:
    return World(4000)


@pytest.fixture(scope="module")
def made(world: World) -> tuple[Frame, train.Fitted]:
    return learned(world)


def test_every_figure_has_an_interval_on_rows_that_were_never_learned(made):
    frame, fitted = made
    judged = evaluate.evaluate(frame, fitted)
    figures = judged.scores.figures
    assert set(figures) == {"auc", "average_precision", "brier", "calibration_error", "recall", "precision"}
    assert all(each.low <= each.high for each in figures.values())
    assert figures["auc"].rows == len(frame.test) == judged.scores.test_rows
    assert not set(frame.test.tolist()) & set(frame.train.tolist())
    assert judged.scores.reason_microseconds > 0
    assert judged.positives == frame.truth[frame.test].sum()


def test_the_three_baselines_are_told_on_the_same_rows_and_history_matters(made):
    frame, fitted = made
    judged = evaluate.evaluate(frame, fitted)
    baselines = judged.scores.baselines
    assert set(baselines) == {"raw", "raw_and_provider", "provider_rate"}
    assert {each.rows for each in baselines.values()} == {len(frame.test)}
    assert baselines["raw"].high < judged.scores.figures["auc"].value
    assert baselines["raw"].high < baselines["raw_and_provider"].value


def test_the_model_comes_near_the_best_that_there_is(world: World, made):
    frame, fitted = made
    claims = world.tables["claim_features"]["claim_id"].to_pylist()
    at = dict(zip(claims, world.true.tolist(), strict=True))
    true = np.array([at[claim] for claim in frame.rows["claim_id"].take(frame.test).to_pylist()])
    judged = evaluate.evaluate(frame, fitted)
    ceiling = statistics.auc(true, judged.truth).value
    assert judged.scores.figures["auc"].value > 0.5 + 0.75 * (ceiling - 0.5)


def test_shuffled_labels_teach_nothing(made):
    frame, fitted = made
    found = [evaluate.control(frame, fitted, seed=seed).value for seed in range(5)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)


def test_a_feature_that_holds_the_answer_is_found_by_name(world: World):
    planted = World(4000)
    told = planted.tables["claim_features"]
    outcome = planted.tables["claim_label"].column("is_denied").to_pylist()
    for place, (name, column) in enumerate(
        {
            "charge_amount": pa.array([0.0 if denied else 10.0 + n % 7 for n, denied in enumerate(outcome)]),
            "claim_type": pa.array(["x" if denied else "y" for denied in outcome]),
            "is_replacement": pa.array([None if denied else n % 3 == 0 for n, denied in enumerate(outcome)]),
        }.items()
    ):
        told = told.set_column(told.column_names.index(name), name, column)
        planted.tables["claim_features"] = told
        frame = gather(model(), views(), planted, planted.edition)
        found = evaluate.screen(frame, frame.inputs())
        assert len(found) == place + 1
        assert f"claim.{name}" in found
    assert found["claim.is_replacement"].startswith("it is missing just where")
    frame = gather(model(), views(), world, world.edition)
    assert evaluate.screen(frame, frame.inputs()) == {}


def test_many_rare_categories_are_no_suspicion():
    world = World(2000)
    told = world.tables["claim_features"]
    each_its_own = pa.array([f"kind-{n}" for n in range(2000)])
    world.tables["claim_features"] = told.set_column(told.column_names.index("claim_type"), "claim_type", each_its_own)
    frame = gather(model(), views(), world, world.edition)
    assert evaluate.screen(frame, frame.inputs()) == {}


def test_a_group_is_judged_only_from_its_minimum_on(world: World):
    changes = {"subgroups": (Subgroup(feature="claim:auth_state", minimum=200),)}
    frame, fitted = learned(world, **changes)
    groups = evaluate.evaluate(frame, fitted).scores.groups
    assert [each.value for each in groups] == ["expired", "none", "valid"]
    assert [each.judged for each in groups] == [each.rows >= 200 for each in groups] == [False, True, True]
    assert sum(each.rows for each in groups) == len(frame.test)
    assert all(each.auc is not None for each in groups)


@pytest.mark.parametrize("feature", ["claim:charge_amount", "claim:claim_type"])
def test_neither_amounts_nor_tokens_are_groups(feature: str):
    world = World(3000)
    frame, fitted = learned(world, subgroups=(Subgroup(feature=feature),))
    tokens = pa.chunked_array([frame.rows["billing_npi"].combine_chunks()])
    column = frame.rows.column_names.index("claim__claim_type")
    frame = frame._replace(rows=frame.rows.set_column(column, "claim__claim_type", tokens))
    with pytest.raises(ProjectError):
        evaluate._groups(frame, np.zeros(len(frame.test)), np.zeros(len(frame.test), bool))
    assert fitted.recipe.model == "denials"


def behind(learned_until: str = "2026-01-02T00:00:00.000000Z", **changes) -> Candidate:
    """Make the candidate behind what is live."""
    return candidate(scores=scores(learned_until=learned_until, **changes))


def test_a_candidate_says_up_to_when_it_learned(made):
    frame, fitted = made
    newest = stamp(instant(int(frame.at[frame.train].max())))
    assert evaluate.evaluate(frame, fitted).scores.learned_until == newest


def test_rows_that_the_live_model_learned_do_not_judge(made):
    frame, fitted = made
    live = Artefact("a" * 64, fitted.files()["model.lgb"].decode(), fitted.recipe)
    probability = evaluate.evaluate(frame, fitted).probability
    at = np.sort(frame.at[frame.test])

    def rows(behind: Candidate) -> int:
        found = evaluate.versus(frame, probability, behind, live)
        assert found.paired is not None, found.why
        return found.paired.difference.rows

    bars = Bars(test_rows=100, test_positives=10)
    frame = frame._replace(model=model(bars=bars))
    tenth = len(at) // 10
    assert rows(behind()) == len(at)
    assert rows(behind(stamp(instant(int(at[tenth]))))) == len(at) - tenth - 1
    # One that is too old to say so began its window on a day.
    day = stamp(instant(int(at[tenth])))[:10]
    began = np.datetime64(day, "us").astype("int64")
    assert rows(behind("", since=day)) == int((at >= began).sum()) < len(at)
    few = evaluate.versus(frame, probability, behind(stamp(instant(int(at[-50])))), live)
    assert (few.paired, few.why) == (None, "it has learned rows of this window, and 49 others are too few")
    unknown = evaluate.versus(frame, probability, behind(""), live)
    assert (unknown.paired, unknown.why) == (None, "it does not say up to when it has learned")


def test_a_feature_of_another_type_under_the_live_model_is_told_and_no_value_of_it(made):
    frame, fitted = made
    first = next(each for each in fitted.recipe.features if each.type == "string")
    other = tuple(
        each.model_copy(update={"type": "float64", "categories": ()}) if each is first else each
        for each in fitted.recipe.features
    )
    recipe = fitted.recipe.model_copy(update={"features": other})
    live = Artefact("a" * 64, fitted.files()["model.lgb"].decode(), recipe)
    found = evaluate.versus(frame, np.zeros(len(frame.test)), behind(), live)
    assert (found.paired, found.why) == (
        None, f"it uses {first.view}.{first.name}, which is not in the features any more as it was",
    )  # fmt: skip


def test_a_candidate_is_compared_with_what_is_live_on_the_same_rows(world: World, made):
    frame, fitted = made
    lesser_frame, lesser = learned(world, features=("claim:claim_type", "claim:charge_amount"))
    live = Artefact("a" * 64, fitted.files()["model.lgb"].decode(), fitted.recipe)
    both = gather(lesser_frame.model, views(), world, world.edition, also=[each.name for each in frame.used])
    probability = evaluate.evaluate(lesser_frame, lesser).probability
    beside = evaluate.versus(both, probability, behind(), live)
    assert beside.live == behind().id
    assert beside.paired is not None
    assert beside.paired.difference.high < 0
    assert beside.paired.difference.rows == len(frame.test)
    # A feature that is gone: nothing is compared, and the gate lets nothing pass.
    lost = evaluate.versus(lesser_frame, probability, behind(), live)
    assert lost.paired is None
    assert "not in the features any more" in lost.why


def test_the_bins_are_the_models_own(made):
    frame, fitted = made
    two = frame._replace(model=model(bars=Bars(calibration_bins=2)))
    many = frame._replace(model=model(bars=Bars(calibration_bins=50)))
    errors = [evaluate.evaluate(each, fitted).scores.figures["calibration_error"].value for each in (two, many)]
    assert errors[0] < errors[1]
