"""Each task from the training set to a scored row: fit, gate, files, and the scorer of the release."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.builders.estimator_samples import linear_pipeline
from tests.builders.leases import ScriptedFence
from tests.builders.model_files import Signer
from tests.builders.recording_step import FixedClock, RecordingStep
from tests.builders.synthetic_world import MemoryRuns, World, model, views
from wellspring.errors import ProjectError
from wellspring.models.estimators.onnx.estimator import Onnx
from wellspring.models.estimators.sklearn.estimator import SklearnPipeline
from wellspring.models.releases.promotion import build_release
from wellspring.models.spec import artifact
from wellspring.models.spec.baselines import Baseline
from wellspring.models.tasks.multiclass import Multiclass, MulticlassCriteria
from wellspring.models.tasks.port import Task
from wellspring.models.tasks.regression import Regression, RegressionCriteria
from wellspring.models.training import train
from wellspring.models.training.ports import ModelStore, TrainingData, TrainingInputs, TrainingPorts
from wellspring.records.features import FeatureRow
from wellspring.serving.scorer import Scorer
from wellspring.stores.objects.disk import DiskBlobStore, DiskContentStore

REGRESSION = Regression(
    acceptance=RegressionCriteria(test_rows=300, r2=-1.0, coverage_gap=0.2, subgroup_bias=5, reason_microseconds=1e6)
)
MULTICLASS = Multiclass(
    acceptance=MulticlassCriteria(
        test_rows=300,
        macro_f1=0.1,
        calibration_error=0.3,
        subgroup_macro_f1=0.05,
        subgroup_calibration_gap=0.9,
        reason_microseconds=1e6,
    )
)


def labelled(task: Task) -> World:
    """Build a data set whose label is a number or one of three texts."""
    world = World(4000)
    rng = np.random.default_rng(3)
    values = world.true * 10 + rng.normal(0, 1, 4000)
    label: Any = pa.array(values) if isinstance(task, Regression) else pa.array(
        np.array(["low", "middle", "high"])[np.digitize(values, [1.5, 4.0])]
    )  # fmt: skip
    rows = world.tables["claim_label"]
    world.tables["claim_label"] = rows.set_column(rows.column_names.index("is_denied"), "is_denied", label)
    return world


def train_once(folder: Path, task: Task, **changes: Any):
    world, signer, runs = labelled(task), Signer(), MemoryRuns()
    store = ModelStore(DiskContentStore(folder / "objects"), DiskBlobStore(folder), (signer.verifier_key,))
    audited = dict.fromkeys(world.tables, 5)
    arguments: dict[str, Any] = {"baselines": (Baseline.constant(),), "task": task, **changes}
    candidate = train.train_candidate(
        model(**arguments), TrainingData(views(), world.source, world.edition),
        TrainingInputs({}, (), (), audited), champion=changes.pop("champion", None),
        ports=TrainingPorts(RecordingStep(), runs, store, signer, FixedClock(), ScriptedFence()),
        progress=lambda *_: None,
    )  # fmt: skip
    return candidate, store, runs


@pytest.mark.parametrize("task", [REGRESSION, MULTICLASS], ids=lambda task: task.name)
def test_a_model_of_each_task_is_trained_and_scored(tmp_path: Path, task: Task):
    candidate, store, runs = train_once(tmp_path, task)
    assert (candidate.verdict.outcome, candidate.task, candidate.estimator) == ("pass", task.name, "lightgbm")
    report = candidate.scores
    baseline, own = report.baselines["constant"].value, report.metrics[task.main_metric].value
    assert own > baseline if task.higher_is_better else own < baseline
    stored = artifact.read_artifact(candidate.artifact, objects=store.objects, paths=store.paths, keys=store.keys)
    release = build_release(candidate, stored, "0" * 64)
    scorer = Scorer.load(release, objects=store.objects, paths=store.paths, keys=store.keys)
    values = {"claim_type": "professional", "charge_amount": 90.0, "auth_state": "expired", "is_replacement": False}
    scored = scorer.score({"claim": FeatureRow("claim", ("c",), values, FixedClock().now(), 1, "e")})
    assert scored.reasons
    assert (scored.output.interval is not None) == (task.name == "regression")
    assert (scored.output.probabilities is not None) == (task.name == "multiclass")
    assert scored.decision in ({""} if task.name == "regression" else {"low", "middle", "high"})
    assert any(name.startswith("validation_") for name in runs.curves[candidate.run])
    assert b"## Baselines" in runs.runs[candidate.run].files["card.md"]


@pytest.mark.parametrize("task", [REGRESSION, MULTICLASS], ids=lambda task: task.name)
@pytest.mark.parametrize("estimator", [SklearnPipeline, Onnx])
def test_a_pipeline_is_trained_on_each_task(tmp_path: Path, task: Task, estimator: type[SklearnPipeline] | type[Onnx]):
    pipeline = linear_pipeline(task.objective_kind)
    candidate, store, _ = train_once(tmp_path, task, estimator=estimator(pipeline=pipeline))
    assert (candidate.verdict.outcome, candidate.estimator) == ("pass", estimator.name)
    baseline, own = candidate.scores.baselines["constant"].value, candidate.scores.metrics[task.main_metric].value
    assert own > baseline if task.higher_is_better else own < baseline
    stored = store.read_artifact(candidate.artifact)
    assert len(stored.load_model().predict_row([float("nan")] * 6)) == (3 if task is MULTICLASS else 1)


@pytest.mark.parametrize(
    ("task", "message"),
    [(REGRESSION, "is string; a label of a regression must be a number"), (MULTICLASS, "must be text")],
)
def test_a_label_that_does_not_fit_the_task_is_an_error_before_training(tmp_path: Path, task: Task, message: str):
    world = labelled(MULTICLASS if task is REGRESSION else REGRESSION)
    from wellspring.models.datasets.training_set import build_training_set

    with pytest.raises(ProjectError, match=message):
        build_training_set(model(task=task, baselines=()), views(), world.source, world.edition)
