"""A challenger is deployed and its role ends as a user signed it, once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.deployments import SEED
from tests.builders.released_model import Released
from tests.builders.user_notes import SIGNED_AT, project_with_users, sign
from wellspring.bootstrap import ModelPorts
from wellspring.errors import NotFound, Refused
from wellspring.models.training.ports import ModelStore
from wellspring.records.deployments import Deployment
from wellspring.records.models import Release
from wellspring.records.user_notes import UserNote
from wellspring.trust.policy import PolicySet
from wellspring.workflows import deployments as module
from wellspring_verify.approvals import deployment_line, undeployment_line


class ProjectFixture:
    """A small project with a live release and an approved one. bo may deploy; the policies may be changed."""

    def __init__(self, folder: Path) -> None:
        self.world = world = Released(folder)
        (folder / "policies").mkdir()
        self.policy = folder / "policies" / "a.cedar"
        self.policy.write_text("permit (principal, action, resource);")
        self.project = project_with_users(world.ana, world.bo, source_paths={"policies": folder / "policies"})
        self.ledger = SimpleNamespace(index=self)
        self.step = world.step
        self.integrated = 0
        self.sequencer = SimpleNamespace(integrate=self.integrate)
        self.list_entries, self.list_open_intents = world.books.list_entries, world.step.open_intents
        registry: Any = None
        store = ModelStore(world.objects, world.releases.paths, (world.signer.verifier_key,))
        self.models = ModelPorts(registry, store, world.project)
        self.stable = world.released(1)
        self.approved = world.train(2)
        world.approve(self.approved)

    def integrate(self) -> None:
        self.integrated += 1

    def note(self, *, share: str = "0.5", stable: Release | None = None, signed_at: str = SIGNED_AT) -> UserNote:
        line = deployment_line((stable or self.stable).id, self.approved.id, "canary", share, SEED)
        return sign(self.world.bo, "deployment", "denials", line, signed_at)

    def deploy(self, note: UserNote) -> tuple[Deployment, str]:
        platform: Any = self
        return module.deploy_release(platform, self.models, self.approved.id, note=note)

    def undeploy(self) -> tuple[Deployment, str]:
        platform: Any = self
        line = undeployment_line(self.stable.id, self.approved.id)
        note = sign(self.world.ana, "undeployment", "denials", line, SIGNED_AT)
        return module.undeploy_release(platform, self.models, "denials", note=note)


@pytest.fixture
def project(tmp_path: Path) -> ProjectFixture:
    return ProjectFixture(tmp_path)


def test_a_challenger_is_deployed_as_signed_and_mlflow_follows(project: ProjectFixture):
    deployment, user = project.deploy(project.note())
    assert (deployment.challenger, deployment.share, deployment.seed) == (project.approved.id, "0.5", SEED)
    assert user == "user:bo"
    (act,) = project.step.done("deploy")
    assert (act.facts["user"], act.facts["signed_at"]) == ("user:bo", SIGNED_AT)
    assert act.facts["signature"]
    assert project.world.mlflow.staged["denials"] is not None
    assert project.integrated == 2
    ended, user = project.undeploy()
    assert (ended.challenger, user) == ("", "user:ana")
    assert project.world.mlflow.staged["denials"] is None


def test_a_note_is_executed_once(project: ProjectFixture):
    note = project.note()
    project.deploy(note)
    project.undeploy()
    # The job is executed again after a crash: the challenger stays removed.
    deployment, _ = project.deploy(note)
    assert deployment.challenger == ""
    assert len(project.step.done("deploy")) == 1


def test_a_note_for_another_stable_release_is_refused(project: ProjectFixture):
    note = project.note()
    third = project.world.released(3)
    with pytest.raises(Refused, match="signed another deployment"):
        project.deploy(note)
    assert project.world.releases.live_id("denials") == third.id
    assert project.step.done("deploy") == []


def test_a_share_that_nobody_may_give_is_refused(project: ProjectFixture):
    with pytest.raises(Refused, match="between 0 and 1"):
        project.deploy(project.note(share="1.0"))
    assert project.step.done("deploy") == []


def test_the_policies_decide_who_deploys(project: ProjectFixture):
    project.policy.write_text('permit (principal, action == Action::"approve", resource);')
    with pytest.raises(Refused):
        project.deploy(project.note())
    assert project.step.done("deploy") == []


def test_policies_on_disk_that_nobody_released_decide_nothing(project: ProjectFixture, monkeypatch: pytest.MonkeyPatch):
    in_force = PolicySet({"a.cedar": 'permit (principal, action == Action::"approve", resource);'})
    monkeypatch.setattr(module, "load_policies_in_force", lambda *_: in_force)
    with pytest.raises(Refused):
        project.deploy(project.note())
    assert project.step.done("deploy") == []


def test_a_release_that_does_not_exist_is_not_deployed(project: ProjectFixture):
    platform: Any = project
    with pytest.raises(NotFound):
        module.deploy_release(platform, project.models, "0" * 12, note=project.note())
