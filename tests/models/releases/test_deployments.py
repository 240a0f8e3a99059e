"""A challenger beside the live release: who may answer, after which act, and after a crash."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.builders.deployments import SEED, deploy
from tests.builders.released_model import Released
from tests.builders.rollbacks import go_back
from wellspring.errors import Refused
from wellspring.models.releases.deployments import (
    Canary,
    deploy_challenger,
    find_deployment,
    is_changing,
    undeploy_challenger,
)
from wellspring.models.releases.promotion import promote_release, recover_releases
from wellspring.records.deployments import Deployment
from wellspring.records.models import Release


@pytest.fixture
def project(tmp_path: Path) -> Released:
    return Released(tmp_path)


def current(project: Released) -> tuple[str, str, str]:
    deployment = find_deployment(project.books, "denials")
    return deployment.stable, deployment.challenger, deployment.share


def put_beside(project: Released, release: Release, share: str = "0.5", seed: str = SEED) -> Deployment:
    return deploy_challenger(release, Canary(share, seed), project.project, step=project.step, note_facts={"n": 1})


def test_a_challenger_stands_beside_the_stable_release_until_its_role_ends(project: Released):
    assert find_deployment(project.books, "denials") == Deployment(model="denials")
    first = project.released(1)
    assert current(project) == (first.id, "", "")
    challenger = deploy(project)
    assert current(project) == (first.id, challenger.id, "0.5")
    assert project.releases.challenger_id("denials") == challenger.id
    assert project.releases.live_id("denials") == first.id
    (act,) = project.step.done("deploy")
    assert (act.subject, act.facts["seed"], act.facts["stable"]) == (challenger.subject, SEED, first.id)
    changed = undeploy_challenger("denials", project.project, step=project.step, note_facts={})
    assert (changed.challenger, changed.share, changed.mode) == ("", "", "")
    assert current(project) == (first.id, "", "")
    assert project.releases.challenger_id("denials") == ""
    # It is approved, so it can be deployed again, and its share can be changed.
    put_beside(project, challenger)
    assert put_beside(project, challenger, "0.75").share == "0.75"
    assert current(project) == (first.id, challenger.id, "0.75")


def test_a_change_of_the_stable_release_ends_the_role_of_the_challenger(project: Released):
    project.released(1)
    second = project.released(2)
    challenger = deploy(project, 3)
    promote_release(challenger, "user:bo", project.project, step=project.step)
    assert current(project) == (challenger.id, "", "")
    assert project.releases.challenger_id("denials") == ""
    again = project.train(4)
    project.approve(again)
    put_beside(project, again)
    assert go_back(project) == second
    assert current(project) == (second.id, "", "")
    assert project.releases.challenger_id("denials") == ""


def test_mlflow_shows_the_challenger_as_staging(project: Released):
    from wellspring.models.releases.promotion import sync_registry

    project.released(1)
    challenger = deploy(project)
    sync_registry("denials", project.project)
    run = project.mlflow.staged["denials"]
    assert run is not None
    promote_release(challenger, "user:bo", project.project, step=project.step)
    shown = project.mlflow.shown["denials"]
    assert shown is not None
    assert (shown.run, project.mlflow.staged["denials"]) == (run, None)


def test_what_may_not_be_a_challenger_is_refused_by_name(project: Released):
    waiting = project.train(9)
    project.approve(waiting)
    with pytest.raises(Refused, match="has no live release beside which"):
        put_beside(project, waiting)
    stable = project.released(1)
    with pytest.raises(Refused, match="is the live release"):
        put_beside(project, stable)
    with pytest.raises(Refused, match="was evaluated against no model"):
        put_beside(project, waiting)
    unapproved = project.train(2)
    with pytest.raises(Refused, match="is not approved by a second person"):
        put_beside(project, unapproved)
    project.propose(unapproved)
    with pytest.raises(Refused, match="is not approved by a second person"):
        put_beside(project, unapproved)
    # Requests have the keys of the stable release.
    foreign = project.train(3)
    project.approve(foreign)
    keys = {stable.id: ("claim_id", "billing_npi"), foreign.id: ("claim_id",)}
    context = project.project._replace(load_check=lambda release: SimpleNamespace(keys=keys[release.id]))
    with pytest.raises(Refused, match="needs the keys claim_id, and the live release claim_id, billing_npi"):
        deploy_challenger(foreign, Canary("0.5", SEED), context, step=project.step, note_facts={})
    assert project.step.done("deploy") == []
    assert [entry.phase for entry in project.step.entries if entry.action == "deploy"] == []


@pytest.mark.parametrize("share", ["0", "0.0", "1", "1.0", "-0.1", "0.00001", "1e-1", "x", ""])
def test_a_share_is_between_nothing_and_everything(project: Released, share: str):
    project.released(1)
    challenger = project.train(2)
    project.approve(challenger)
    with pytest.raises(Refused, match="between 0 and 1"):
        put_beside(project, challenger, share)


def test_a_seed_is_16_hexadecimal_digits():
    with pytest.raises(Refused, match="16 hexadecimal"):
        Canary("0.5", "SEED").require_valid()


def test_without_a_challenger_no_role_ends(project: Released):
    project.released(1)
    with pytest.raises(Refused, match="has no challenger"):
        undeploy_challenger("denials", project.project, step=project.step, note_facts={})


@pytest.mark.parametrize("crash", ["release.deploy:intent", "release.deploy:challenger-set"])
def test_an_interrupted_deployment_is_completed(project: Released, crash: str):
    stable = project.released(1)
    challenger = project.train(2)
    project.approve(challenger)
    project.step.die_at = crash
    with pytest.raises(BaseException, match=crash):
        put_beside(project, challenger)
    project.step.die_at = ""
    assert current(project) == (stable.id, "", "")
    assert is_changing(project.books, "denials")
    recovered = recover_releases("denials", project.step.open_intents(), project.project, step=project.step)
    assert recovered == (challenger,)
    assert current(project) == (stable.id, challenger.id, "0.5")
    assert project.releases.challenger_id("denials") == challenger.id
    assert not is_changing(project.books, "denials")
    assert recover_releases("denials", project.step.open_intents(), project.project, step=project.step) == ()


@pytest.mark.parametrize("crash", ["release.undeploy:intent", "release.undeploy:challenger-removed"])
def test_an_interrupted_undeployment_is_completed(project: Released, crash: str):
    stable = project.released(1)
    deploy(project)
    project.step.die_at = crash
    with pytest.raises(BaseException, match=crash):
        undeploy_challenger("denials", project.project, step=project.step, note_facts={})
    project.step.die_at = ""
    recover_releases("denials", project.step.open_intents(), project.project, step=project.step)
    assert current(project) == (stable.id, "", "")
    assert project.releases.challenger_id("denials") == ""


def test_a_file_of_a_challenger_that_the_ledger_does_not_name_is_written_again(project: Released):
    stable = project.released(1)
    challenger = deploy(project)
    project.releases.set_challenger("denials", stable.id)
    assert recover_releases("denials", [], project.project, step=project.step) == ()
    assert project.releases.challenger_id("denials") == challenger.id
