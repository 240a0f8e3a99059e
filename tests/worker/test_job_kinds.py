"""The kinds of jobs: each has a handler, an action of the schema, and resources."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.approvals import release
from tests.builders.jobs import write_project
from tests.builders.synthetic_world import candidate
from wellspring.errors import NotFound
from wellspring.models.releases.candidates import save_candidate
from wellspring.models.releases.store import ReleaseStore
from wellspring.project import Project, load_project
from wellspring.trust import policy
from wellspring.worker.handlers import HANDLERS
from wellspring.worker.job_kinds import JOB_KINDS, LAKE_RESOURCES, build_policy_resource, find_job_kind
from wellspring.worker.job_policy import DEFAULT_POLICY, build_principal
from wellspring.worker.query_handlers import QUERY_HANDLERS


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return load_project(write_project(tmp_path))


def test_each_kind_has_a_handler_and_no_query_is_a_job():
    assert JOB_KINDS.keys() == HANDLERS.keys()
    assert not JOB_KINDS.keys() & QUERY_HANDLERS.keys()


@pytest.mark.parametrize("name", sorted(name for name, kind in JOB_KINDS.items() if kind.note_kind is None))
def test_the_schema_has_the_action_of_each_kind(name: str, project: Project):
    kind, policies = JOB_KINDS[name], policy.PolicySet({"default.cedar": DEFAULT_POLICY})
    resource = build_policy_resource(project, name, "vendor")
    verdict = policy.evaluate_request(policies, build_principal(project, "service:owner"), kind.action, resource, {})
    assert [reason.code for reason in verdict.reasons] == ["permitted"]


def test_only_jobs_that_hold_the_lake_complete_interrupted_work_of_the_lake(project: Project):
    workflows = Path(policy.__file__).parents[1] / "workflows"
    recovering = {
        path.stem for path in workflows.glob("*.py") if "recover_interrupted_ingests(platform)" in path.read_text()
    }
    assert recovering == {"drops", "ingest", "retain", "transform"}
    for name in ("ingest", "replay", "transform", "withdraw", "rejudge", "discard", "retain"):
        assert set(LAKE_RESOURCES) <= set(JOB_KINDS[name].list_resources(project, "vendor"))


def test_a_rollback_shares_nothing_with_a_training(project: Project):
    training = JOB_KINDS["train"].list_resources(project, "denials")
    assert not set(training) & set(JOB_KINDS["rollback"].list_resources(project, "denials"))
    assert training != JOB_KINDS["train"].list_resources(project, "arrivals")


def test_the_acts_on_one_model_share_a_resource_that_those_on_another_do_not_have(project: Project):
    store = ReleaseStore(project.models_dir)
    for model in ("denials", "arrivals"):
        trained, proposed = candidate(model=model), release(model=model)
        save_candidate(trained, paths=store.paths)
        store.save(proposed)
        subjects = {"propose": trained.id, "approve": proposed.id, "rollback": model}
        for kind, subject in subjects.items():
            assert JOB_KINDS[kind].list_resources(project, subject) == (f"release:{model}",)
    with pytest.raises(NotFound):
        JOB_KINDS["approve"].list_resources(project, "f" * 12)


def test_an_unknown_kind_suggests_the_nearest():
    with pytest.raises(NotFound) as raised:
        find_job_kind("ingst")
    assert raised.value.fix == "did you mean 'ingest'?"
