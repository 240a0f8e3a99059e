"""The files of a released model on the features of a newer transform: scored and gated again, with the same weights."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.synthetic_world import World, binary_task, model, views
from tests.builders.trainings import AUDITED, CODE, CONTRACTS, ProjectFixture
from wellspring.errors import Refused
from wellspring.models.releases import candidates
from wellspring.models.tasks.binary import BinaryCriteria
from wellspring.models.training.evaluation_run import EvaluatedModel, evaluate_candidate
from wellspring.models.training.ports import TrainingData, TrainingInputs
from wellspring.records.models import Candidate
from wellspring.records.trust import Ref


@pytest.fixture(scope="module")
def world() -> World:
    return World(4000)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, world: World) -> tuple[ProjectFixture, Candidate]:
    project = ProjectFixture(tmp_path_factory.mktemp("trained"), world)
    return project, project.train()


def evaluate(project: ProjectFixture, previous: Candidate, **changes: Any) -> Candidate:
    """Evaluate a candidate as a champion on the same edition, built by other dbt code."""
    data = TrainingData(
        changes.pop("views_", None) or views(), project.world.source, project.world.edition, transform="d" * 64
    )
    evaluated = EvaluatedModel(previous, project.model_store.read_artifact(previous.artifact))
    return evaluate_candidate(
        model(**changes), evaluated, data, TrainingInputs(CODE, CONTRACTS, (), AUDITED), champion=previous,
        ports=project.ports(), progress=lambda stage, done, total: project.stages.append(stage),
    )  # fmt: skip


def test_the_same_files_are_scored_and_gated_on_the_newer_transform(trained: tuple[ProjectFixture, Candidate]):
    project, previous = trained
    project.stages.clear()
    again = evaluate(project, previous)
    assert (again.artifact, again.transform) == (previous.artifact, "d" * 64)
    assert again.run != previous.run
    assert again.id != previous.id
    assert again == candidates.read_candidate(again.id, paths=project.model_store.paths)
    # The same rows and the same weights give the same figures; nothing was trained.
    assert again.scores.metrics == previous.scores.metrics
    assert (again.scores.trained_until, again.scores.train_rows) == (
        previous.scores.trained_until, previous.scores.train_rows,
    )  # fmt: skip
    assert again.verdict.passed
    assert "train" not in project.stages
    entry = project.step.done("evaluate")[-1]
    assert {ref.name for ref in entry.inputs} >= {f"run:{previous.run}", "artifact:denials", "views:tiny"}
    assert entry.outputs == (Ref(name="artifact:denials", digest=previous.artifact),)
    gated = project.step.done("gate")[-1]
    assert (gated.subject, gated.facts["live"]) == (again.subject, previous.id)


def test_an_evaluated_model_can_be_evaluated_again(trained: tuple[ProjectFixture, Candidate]):
    project, previous = trained
    second = evaluate(project, evaluate(project, previous))
    assert second.artifact == previous.artifact


def test_the_gate_decides_again(trained: tuple[ProjectFixture, Candidate]):
    project, previous = trained
    strict = binary_task(acceptance=BinaryCriteria(auc=0.999))
    with pytest.raises(Refused, match="was not released"):
        evaluate(project, previous, task=strict)


def test_features_that_the_model_needs_and_the_views_lack_are_named(trained: tuple[ProjectFixture, Candidate]):
    project, previous = trained
    whole = views()
    poor = whole.model_copy(
        update={"views": tuple(view.model_copy(update={"features": view.features[:1]}) for view in whole.views)}
    )
    with pytest.raises(Refused, match=r"needs the feature claim\.") as error:
        evaluate(project, previous, views_=poor)
    assert "wellspring train denials" in error.value.fix


def test_a_model_whose_file_has_another_estimator_is_not_evaluated(trained: tuple[ProjectFixture, Candidate]):
    project, previous = trained
    with pytest.raises(Refused, match="another task or estimator"):
        evaluate(project, previous.model_copy(update={"estimator": "sklearn"}))


def test_rows_that_the_model_was_trained_on_do_not_count(trained: tuple[ProjectFixture, Candidate]):
    project, previous = trained
    late = previous.scores.model_copy(update={"trained_until": "2030-01-01T00:00:00.000000Z"})
    with pytest.raises(Refused, match="no labelled rows later than the training"):
        evaluate(project, previous.model_copy(update={"scores": late}))
    unrecorded = previous.scores.model_copy(update={"trained_until": "", "since": ""})
    with pytest.raises(Refused, match="does not record the end of its train rows"):
        evaluate(project, previous.model_copy(update={"scores": unrecorded}))
