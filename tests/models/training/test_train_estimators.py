"""Each estimator from the training set to a scored row and a reproduced run; and a model trained elsewhere."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders.estimator_samples import linear_pipeline
from tests.builders.leases import ScriptedFence
from tests.builders.model_files import Signer
from tests.builders.onnx_graphs import linear_graph
from tests.builders.recording_step import FixedClock, RecordingStep
from tests.builders.synthetic_world import MemoryRuns, World, model, views
from wellspring.errors import CorruptedError, Refused
from wellspring.models.datasets.training_set import build_training_set
from wellspring.models.estimators.onnx.estimator import Onnx
from wellspring.models.estimators.sklearn.estimator import SklearnPipeline
from wellspring.models.evaluation import evaluate
from wellspring.models.releases.promotion import build_release
from wellspring.models.spec import artifact
from wellspring.models.training import fit, train
from wellspring.models.training.ports import ModelStore, TrainingData, TrainingInputs, TrainingPorts
from wellspring.records.features import FeatureRow
from wellspring.records.models import Candidate
from wellspring.serving.scorer import ScoredRow, Scorer
from wellspring.stores.objects.disk import DiskBlobStore, DiskContentStore

PIPELINE = linear_pipeline("binary")
VALUES = {"claim_type": "professional", "charge_amount": 90.0, "auth_state": "expired", "is_replacement": False}
HISTORY = {"denial_rate_30d": 0.4, "claims_30d": 20}
EARLY, LATE = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> World:
    return World(4000)


class Training:
    """What a training needs, in a folder."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world = folder, world
        self.signer, self.runs, self.step = Signer(), MemoryRuns(), RecordingStep()
        self.store = ModelStore(
            DiskContentStore(folder / "objects"), DiskBlobStore(folder), (self.signer.verifier_key,)
        )

    @property
    def data(self) -> TrainingData:
        return TrainingData(views(), self.world.source, self.world.edition)

    @property
    def ports(self) -> TrainingPorts:
        return TrainingPorts(self.step, self.runs, self.store, self.signer, FixedClock(), ScriptedFence())

    def train(self, **changes: Any) -> Candidate:
        inputs = TrainingInputs({}, (), (), dict.fromkeys(self.world.tables, 5))
        return train.train_candidate(
            model(**changes), self.data, inputs, champion=None, ports=self.ports, progress=lambda *_: None
        )

    def reproduce(self, run: str, **changes: Any) -> dict[str, str]:
        return train.reproduce_run(
            run, model(**changes), lambda _: self.data, source_digests={}, ports=self.ports, progress=lambda *_: None
        )

    def score(self, candidate: Candidate) -> ScoredRow:
        store = self.store
        stored = artifact.read_artifact(candidate.artifact, objects=store.objects, paths=store.paths, keys=store.keys)
        release = build_release(candidate, stored, "0" * 64)
        scorer = Scorer.load(release, objects=store.objects, paths=store.paths, keys=store.keys)
        known_since = FixedClock().now()
        rows = {
            "claim": FeatureRow("claim", ("c",), VALUES, known_since, 1, "e"),
            "provider_history": FeatureRow("provider_history", ("p",), HISTORY, known_since, 1, "e"),
        }
        return scorer.score(rows)

    def card(self, candidate: Candidate) -> str:
        return self.runs.runs[candidate.run].files["card.md"].decode()

    def imported(self, until: datetime = EARLY) -> Onnx:
        """Open a file whose log odds are three times the provider's rate of denials."""
        graph = linear_graph([[0.0], [0.0], [0.0], [0.0], [3.0], [0.0]])
        (self.folder / "denials.onnx").write_bytes(graph.SerializeToString())
        return Onnx(file="denials.onnx", trained_until=until, scale="logits").open_file(self.folder)


@pytest.mark.parametrize("estimator", [SklearnPipeline(pipeline=PIPELINE), Onnx(pipeline=PIPELINE)])
def test_a_pipeline_is_trained_scored_and_reproduced(tmp_path: Path, world: World, estimator: Any):
    training = Training(tmp_path, world)
    candidate = training.train(estimator=estimator)
    assert (candidate.verdict.outcome, candidate.estimator) == ("pass", estimator.name)
    assert set(candidate.scores.baselines) == {"columns", "columns_plus_entity", "heuristic"}
    assert candidate.scores.metrics["auc"].value > candidate.scores.baselines["columns"].value
    scored = training.score(candidate)
    assert 0 < scored.score < 1
    assert bool(scored.reasons) == (estimator.name == "sklearn")
    assert estimator.file_name in training.reproduce(candidate.run, estimator=estimator)
    assert "none" in training.card(candidate)
    with pytest.raises(CorruptedError, match=estimator.file_name):
        training.reproduce(candidate.run, estimator=estimator.model_copy(update={"one_hot": ()}))


def test_a_model_trained_elsewhere_is_evaluated_and_marked(tmp_path: Path, world: World):
    training = Training(tmp_path, world)
    candidate = training.train(estimator=training.imported())
    (reason,) = [reason for reason in candidate.verdict.reasons if reason.code == "trained_elsewhere"]
    assert candidate.verdict.passed
    assert "on rows before 2026-03-01" in reason.message
    assert "not audited for leaks" in reason.message
    assert "could not be trained again on shuffled labels" in reason.message
    assert "trained elsewhere: denials.onnx, on rows before 2026-03-01" in training.card(candidate)
    assert reason.message in training.card(candidate)
    (facts,) = [entry.facts for entry in training.step.entries if entry.action == "train" and entry.phase == "done"]
    assert facts["trained_elsewhere"] == "denials.onnx"
    assert str(facts["trained_until"]).startswith("2026-03-01")
    assert training.score(candidate).reasons == ()
    assert "model.onnx" in training.reproduce(candidate.run, estimator=training.imported())


def test_a_model_trained_elsewhere_on_rows_of_the_test_window_is_refused(tmp_path: Path, world: World):
    training = Training(tmp_path, world)
    with pytest.raises(Refused, match="may have learned the test rows") as refusal:
        training.train(estimator=training.imported(LATE))
    assert refusal.value.verdict is not None
    assert [reason.code for reason in refusal.value.verdict.reasons] == ["trained_on_test_rows"]
    assert training.runs.runs == {}


def test_the_shuffled_control_fits_the_same_pipeline_again(world: World):
    estimator = SklearnPipeline(pipeline=PIPELINE)
    training_set = build_training_set(model(estimator=estimator), views(), world.source, world.edition)
    trained_model = fit.fit_model(training_set, progress=lambda *_: None)
    controls = [evaluate.shuffled_label_control(training_set, trained_model, seed=seed).value for seed in range(12)]
    # A linear model of shuffled labels points in a random direction.
    assert np.mean(controls) == pytest.approx(0.5, abs=0.07)


def test_the_shuffled_control_refuses_a_model_trained_elsewhere(tmp_path: Path, world: World):
    estimator = Training(tmp_path, world).imported()
    training_set = build_training_set(model(estimator=estimator), views(), world.source, world.edition)
    trained_model = fit.fit_model(training_set, progress=lambda *_: None)
    with pytest.raises(Refused, match="cannot be trained on shuffled labels"):
        evaluate.shuffled_label_control(training_set, trained_model, seed=1)


def test_the_end_of_training_of_a_file_counts_for_a_comparison_with_the_next_model(tmp_path: Path, world: World):
    training = Training(tmp_path, world)
    until = training.train(estimator=training.imported()).scores.trained_until
    # The calibration was fitted later than the model.
    assert until > "2026-03-01"
