"""Deploy a challenger in a small project, and tell of one in the story of a prediction."""

from __future__ import annotations

from pydantic import JsonValue

from tests.builders.prediction_story import Key, StoryStep, release
from tests.builders.released_model import Released
from wellspring.models.releases.deployments import Canary, deploy_challenger
from wellspring.records.models import Release
from wellspring.records.trust import Ref
from wellspring_verify import approvals

SEED = "5eed5eed5eed5eed"
SIGNED_AT = "2026-11-25T12:00:00.000000Z"


def deploy(project: Released, seed: int = 2, *, share: str = "0.5") -> Release:
    """Train, approve and deploy a challenger. seed: of its training."""
    challenger = project.train(seed)
    project.approve(challenger)
    deploy_challenger(challenger, Canary(share, SEED), project.project, step=project.step, note_facts={})
    return challenger


def deployment(stable: Ref, challenger: Ref | None = None, *, share: str = "0.5", user: str = "omar") -> StoryStep:
    """Tell how a user deployed a challenger (default: the release of the story)."""
    item = challenger or release()
    stable_id, challenger_id = stable.name.partition(":")[2], item.name.partition(":")[2]
    line = approvals.deployment_line(stable_id, challenger_id, "canary", share, SEED)
    facts: dict[str, JsonValue] = {
        "model": "denials", "stable": stable_id, "mode": "canary", "share": share, "seed": SEED,
        "user": f"user:{user}", "signed_at": SIGNED_AT,
        "signature": Key(user).sign(approvals.deployment_text("denials", line, SIGNED_AT)),
    }  # fmt: skip
    return StoryStep("worker", "deploy", item.name, (item,), (), facts, intent=True)


def undeployment(stable: Ref, challenger: Ref | None = None, *, user: str = "omar") -> StoryStep:
    """Tell how a user ended the role of the challenger."""
    item = challenger or release()
    stable_id, challenger_id = stable.name.partition(":")[2], item.name.partition(":")[2]
    line = approvals.undeployment_line(stable_id, challenger_id)
    facts: dict[str, JsonValue] = {
        "model": "denials", "stable": stable_id, "user": f"user:{user}", "signed_at": SIGNED_AT,
        "signature": Key(user).sign(approvals.undeployment_text("denials", line, SIGNED_AT)),
    }  # fmt: skip
    return StoryStep("worker", "undeploy", item.name, (item,), (), facts, intent=True)
