"""A challenger with other SQL beside the live release, and requests to both from several clients at once."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from examples.health_plan import colleague
from tests.crash.serving_project import MODEL, ServingProject
from wellspring.cli.worker_client import run_worker
from wellspring.records.deployments import Deployment
from wellspring.records.models import Prediction
from wellspring_verify.deployments import selects_challenger

CLIENTS, BATCH = 4, 2_000


class LoadReport(NamedTuple):
    """What the answers of both releases were like. versions: of the views, as many as releases answered.

    misplaced: answers of another release than seed and share give. differing: answers whose vector or score is not that
    of the rows in the lake, computed with the views of their own release.
    """

    answers: int
    by_role: dict[str, int]
    versions: int
    misplaced: int
    differing: int
    seconds: float


def deploy_changed_sql(project: ServingProject, *, author: str, approver: str, share: str) -> str:
    """Edit the SQL of a feature, train on it, and release the model as the challenger; return the release."""
    colleague.smooth(project.root)
    candidate = str(project.must("train", MODEL, "--draft")["id"])
    proposed = project.act(author, "release", "propose", candidate)
    assert proposed.exit_code == 0, proposed.screen
    release = str(json.loads(proposed.out)["release"]["id"])
    approved = project.act(approver, "release", "approve", release, "--challenger", "--share", share)
    assert approved.exit_code == 0, approved.screen
    return release


def request_both(project: ServingProject, keys: Sequence[Mapping[str, str]]) -> tuple[list[Prediction], float]:
    """Request predictions from several clients at once; return them, and the seconds that it took."""

    def request(part: Sequence[Mapping[str, str]]) -> list[Prediction]:
        with project.client() as client:
            return [client.predict(MODEL, item, include_reasons=False) for item in part]

    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        parts = list(pool.map(request, [keys[number::CLIENTS] for number in range(CLIENTS)]))
    return [prediction for part in parts for prediction in part], time.perf_counter() - started


def check_answers(project: ServingProject, predictions: Sequence[Prediction], seconds: float) -> LoadReport:
    """Compare answers with the deployment, and with the rows of the lake in the versions of their own release."""
    deployment = read_deployment(project)
    releases = {"stable": deployment.stable, "challenger": deployment.challenger}
    misplaced = sum(
        prediction.release != releases[prediction.role]
        or (prediction.role == "challenger")
        != selects_challenger(deployment.seed, deployment.share, prediction.request_digest)
        for prediction in predictions
    )
    subjects = [prediction.subject for prediction in predictions]
    replayed = [
        item
        for start in range(0, len(subjects), BATCH)
        for item in run_worker(
            project.project, "replay-predictions", params={"predictions": subjects[start : start + BATCH]}
        )
    ]
    vectors = {prediction.id: prediction.vector_digest for prediction in predictions}
    differing = sum(
        not item["equal"] or item["vector_digest"] != vectors[item["prediction"].removeprefix("prediction:")]
        for item in replayed
    )
    by_role = {role: sum(prediction.role == role for prediction in predictions) for role in releases}
    versions = {
        json.loads((project.project.models_dir / "releases" / f"{release}.json").read_bytes())["views"]
        for release in {prediction.release for prediction in predictions}
    }
    return LoadReport(len(replayed), by_role, len(versions), misplaced, differing, round(seconds, 1))


def read_deployment(project: ServingProject) -> Deployment:
    """Read which releases may answer."""
    return Deployment.model_validate(run_worker(project.project, "deployment", MODEL, offline=True))
