"""The scene of the demo in which the SQL of a feature changes: the diff, the release by two users, and the rollback."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wellspring.cli.context import CliContext
from wellspring.cli.demo_harness import DemoFigure, begin_scene, indented_context, require_outcome
from wellspring.cli.demo_users import DemoUsers
from wellspring.cli.feature_diff import print_feature_diff
from wellspring.cli.render import progress_bar
from wellspring.cli.worker_client import run_worker
from wellspring.project import Project

if TYPE_CHECKING:
    from wellspring.records.models import Prediction

DEMO_MODEL = "denials"
CHANGE_COUNT = 50
"""Predictions that are compared before and after each change."""


def run_change_scene(ctx: CliContext, project: Project, users: DemoUsers, vendor: Any) -> Iterator[DemoFigure]:
    """Edit a dbt file, release the code, then the same model files on the new features, and roll the model back."""
    from wellspring.cli.train import run_training

    begin_scene(
        ctx, "12. A number in the SQL of a feature changes: no answer does, until two users release it; then a rollback"
    )
    started_at = time.perf_counter()
    entity_keys = run_worker(project, "latest-keys", DEMO_MODEL, params={"count": CHANGE_COUNT})
    before = _predict_all(project, entity_keys)
    vendor.colleague.smooth(project.root)
    require_outcome(
        not run_worker(project, "transform")["is_on_disk"], "a transform builds the released code, not the edit"
    )
    _release_code(ctx, project, users, vendor)
    with progress_bar(enabled=not ctx.as_json) as draw:
        built = run_worker(project, "transform", on_progress=draw)
    require_outcome(
        [item["edition"] for item in built["warm"]] == [before[0].edition] != [built["edition"]["id"]],
        "the live release keeps the edition that its own SQL built",
    )
    edited = _predict_all(project, entity_keys)
    require_outcome(_scores(edited) == _scores(before), "an edit of dbt changes no answer")
    ctx.echo(f"  after the edit, its release and a transform: {CHANGE_COUNT} of {CHANGE_COUNT} answers are equal")
    live = before[0].release
    evaluated = run_training(project, DEMO_MODEL, job="evaluate")
    candidate = evaluated["id"]
    require_outcome(evaluated["verdict"]["outcome"] == "pass", "the gate passes the same files on the new features")
    diff = run_worker(project, "feature-diff", candidate)
    print_feature_diff(indented_context(ctx), diff)
    changed = {(view["view"], feature["feature"]) for view in diff["views"] for feature in view["features"]}
    require_outcome(
        changed == {(vendor.colleague.SMOOTHED_VIEW, vendor.colleague.SMOOTHED_FEATURE)},
        "the diff names the changed feature and no other",
    )
    code, proposed = users.run_as("ines", "release", "propose", candidate)
    require_outcome(code == 0, "ines proposes the release of the new features")
    require_outcome(
        proposed["release"]["artifact"] == evaluated["artifact"] and proposed["release"]["id"] != live,
        "the release has the files of the live one and other features",
    )
    code, _ = users.run_as("omar", "release", "approve", proposed["release"]["id"])
    require_outcome(code == 0, "omar approves the release of the new features")
    released = _predict_all(project, entity_keys)
    moved = sum(first != second for first, second in zip(_scores(before), _scores(released), strict=True))
    require_outcome(moved > 0, "the new release answers from the new features")
    code, _ = users.run_as("ines", "release", "rollback", DEMO_MODEL)
    require_outcome(code == 0, "ines rolls the model back")
    restored = _predict_all(project, entity_keys)
    require_outcome(_scores(restored) == _scores(before), "the rollback brings the old features back")
    subjects = [prediction.subject for prediction in (*before[:10], *released[:10], *restored[:10])]
    replayed = run_worker(project, "replay-predictions", params={"predictions": subjects})
    require_outcome(all(replay["equal"] for replay in replayed), "answers of both releases replay")
    ctx.echo(f"  {moved} of {CHANGE_COUNT} answers changed with the release, and none after the rollback")
    yield DemoFigure(
        "a change of features",
        "edit, release of the code, build, score and gate again, release, rollback; answers equal before and after",
        f"{time.perf_counter() - started_at:.1f} s",
    )


def _release_code(ctx: CliContext, project: Project, users: DemoUsers, vendor: Any) -> None:
    """Let two users release the edited dbt code: new trainings use it then, and no answer changes."""
    # The proposal then finds the build: the code of the authenticator may not wait for it.
    run_worker(project, "draft-change", "transform:project")
    code, proposed = users.run_as("ines", "release", "propose", "--kind", "transform")
    require_outcome(code == 0, "ines proposes the dbt code")
    features = [line for line in proposed["release"]["summary"] if line.startswith("feature ")]
    changed = f"feature {vendor.colleague.SMOOTHED_VIEW}.{vendor.colleague.SMOOTHED_FEATURE}:"
    require_outcome(
        len(features) == 1 and features[0].startswith(changed), "the proposal names the changed feature and no other"
    )
    for line in proposed["release"]["summary"]:
        ctx.echo(f"  {line}")
    code, approved = users.run_as("omar", "release", "approve", proposed["release"]["id"])
    require_outcome(code == 0 and approved["state"] == "live", "omar approves the dbt code")


def _predict_all(project: Project, entity_keys: Sequence[Mapping[str, str]]) -> list[Prediction]:
    from wellspring.client import Client

    with Client(project) as client:
        return [client.predict(DEMO_MODEL, keys) for keys in entity_keys]


def _scores(predictions: Sequence[Prediction]) -> list[str]:
    return [float(prediction.score).hex() for prediction in predictions]
