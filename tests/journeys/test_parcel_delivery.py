"""The second example on real servers: regression and several classes, from drops to replayed predictions.

A scikit-learn pipeline and an ONNX model are released for all tests; the long test releases the LightGBM model too.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from examples.parcel_delivery import parcels
from tests.architecture import repository
from tests.crash.project import ProjectFixture
from tests.crash.serving_project import ServingProject
from wellspring.cli.worker_client import run_worker
from wellspring.records.models import Prediction

pytestmark = [pytest.mark.live, pytest.mark.slow]

ESTIMATORS = {"delivery_outcome": "sklearn", "long_delivery": "onnx"}
MODELS = tuple(ESTIMATORS)
REQUESTS = 50


class ReleasedModels(NamedTuple):
    """A project with a live release of each model. candidates, releases: by model."""

    project: ServingProject
    candidates: dict[str, dict[str, Any]]
    releases: dict[str, str]


@pytest.fixture(scope="module")
def released() -> Iterator[ReleasedModels]:
    # Services under other users read the project through these folders.
    folder = Path(tempfile.mkdtemp(prefix="ws-parcels-"))
    folder.chmod(0o755)
    project = ServingProject(folder / "project", example=repository.ROOT / "examples" / "parcel_delivery")
    try:
        project.must("up")
        parcels.write_drops(project.project.vendor_dir / "outbox")
        project.must("ingest")
        built = project.must("transform")
        assert built["leaks"] == []
        project.enroll_users("pia", "tom")
        candidates = {model: project.must("train", model) for model in MODELS}
        releases = {
            model: project.release_candidate(candidates[model]["id"], author="pia", approver="tom") for model in MODELS
        }
        yield ReleasedModels(project, candidates, releases)
    finally:
        ProjectFixture.down(project.root)
        shutil.rmtree(folder)


def test_each_model_is_better_than_its_baselines(released: ReleasedModels):
    assert {model: candidate["estimator"] for model, candidate in released.candidates.items()} == ESTIMATORS
    outcome, long = (released.candidates[model]["scores"] for model in MODELS)
    assert (outcome["task"], long["task"]) == ("multiclass", "regression")
    assert long["metrics"]["mae"]["high"] < min(item["low"] for item in long["baselines"].values())
    assert outcome["metrics"]["macro_f1"]["low"] > max(item["high"] for item in outcome["baselines"].values())


@pytest.fixture(scope="module")
def answers(released: ReleasedModels) -> dict[str, dict[str, Any]]:
    """One prediction of each model for the same parcel, as the API returns it."""
    (keys,) = released.project.sample_keys(1, latest=1, model=MODELS[0])
    with released.project.client() as client:
        return {model: client.predict(model, keys).model_dump(mode="json") for model in MODELS}


def test_predictions_have_the_numbers_of_their_task(released: ReleasedModels, answers: dict[str, dict[str, Any]]):
    outcome, long = (Prediction.model_validate(answers[model], strict=False) for model in MODELS)
    assert {item.model: item.release for item in (outcome, long)} == released.releases
    assert long.interval is not None
    assert long.interval[0] < long.score < long.interval[1]
    assert long.probabilities is None
    assert (long.decision, long.threshold) == ("long" if long.score >= 60 else "short", "60")
    probabilities = {item.label: item.probability for item in outcome.probabilities or ()}
    assert set(probabilities) == set(parcels.OUTCOMES)
    assert sum(probabilities.values()) == pytest.approx(1)
    assert probabilities[outcome.decision] == outcome.score == max(probabilities.values())
    # A linear step explains itself, and an ONNX model does not.
    assert (bool(outcome.reasons), long.reasons) == (True, ())


@pytest.mark.long
def test_a_number_without_a_threshold_is_predicted_and_proved(released: ReleasedModels, tmp_path: Path):
    project = released.project
    project.release_candidate(project.must("train", "delivery_hours")["id"], author="pia", approver="tom")
    document = project.must("predict", "delivery_hours", "--newest")
    assert document["decision"] == ""
    assert document["interval"][0] < document["score"] < document["interval"][1]
    assert document["reasons"]
    assert project.must("replay", f"prediction:{document['id']}")["equal"]
    check_proof(project, document, tmp_path)


def test_all_predictions_replay_to_the_last_bit(released: ReleasedModels):
    keys = released.project.sample_keys(REQUESTS, model=MODELS[0])
    with released.project.client() as client:
        predictions = [client.predict(model, key, include_reasons=False) for model in MODELS for key in keys]
    replayed = run_worker(
        released.project.project,
        "replay-predictions",
        params={"predictions": [prediction.subject for prediction in predictions]},
    )
    assert [item for item in replayed if not item["equal"]] == []
    assert [(item["model"], item["score"], item["decision"]) for item in replayed] == [
        (prediction.model, prediction.score.hex(), prediction.decision) for prediction in predictions
    ]
    for model in MODELS:
        scores = {prediction.score for prediction in predictions if prediction.model == model}
        assert len(scores) > REQUESTS // 2, model


@pytest.mark.parametrize("model", MODELS)
def test_a_prediction_is_proved_and_a_changed_number_is_named(
    released: ReleasedModels, answers: dict[str, dict[str, Any]], model: str, tmp_path: Path
):
    check_proof(released.project, answers[model], tmp_path)


def check_proof(project: ServingProject, document: dict[str, Any], folder: Path) -> None:
    """Prove and verify a prediction; then check that a changed number of it is named."""
    answer, keys, pack = folder / "answer.json", folder / "keys.txt", folder / "pack"
    verifier_keys = project.must("ledger", "key")
    keys.write_text("\n".join([verifier_keys["log"], verifier_keys["witness"], *verifier_keys["services"]]))
    project.must("prove", f"prediction:{document['id']}", "--out", str(pack))
    words = ("verify", str(pack), "--key", str(keys), "--witness", str(keys), "--answer", str(answer))
    answer.write_text(json.dumps(document))
    verified = project.run(*words)
    assert (verified.code, verified.document["findings"]) == (0, [])

    changed, value = change_number(document)
    answer.write_text(json.dumps({**document, changed: value}))
    forged = project.run(*words)
    assert forged.code == 20
    assert f"its {changed} differs from the one in the log" in json.dumps(forged.document["findings"])


def change_number(document: dict[str, Any]) -> tuple[str, Any]:
    """Change one number of a prediction; return the name and the changed value of its field."""
    if "interval" in document:
        return "interval", [document["interval"][0], document["interval"][1] + 1]
    probabilities = copy.deepcopy(document["probabilities"])
    probabilities[1]["probability"] /= 2
    return "probabilities", probabilities
