"""Policies on jobs: the default, those of the project, and the refusal that is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.jobs import build_job, write_project
from tests.builders.recording_step import RecordingStep
from wellspring.errors import Refused
from wellspring.project import Project, load_project
from wellspring.worker.job_kinds import JOB_KINDS
from wellspring.worker.job_policy import evaluate_job, record_refusal

USER = '[users.ana]\nroles = ["author"]\n'
AUTHORS = 'permit (principal in Role::"author", action == Action::"train", resource == Model::"denials");'


def project_with(folder: Path, policies: str = "") -> Project:
    write_project(folder, f"[models]\n{USER}")
    if policies:
        (folder / "policies").mkdir()
        (folder / "policies" / "jobs.cedar").write_text(policies)
    return load_project(folder, environ={})


@pytest.mark.parametrize("kind", sorted(JOB_KINDS))
def test_without_policies_the_owner_and_the_schedule_may_run_every_kind(tmp_path: Path, kind: str):
    project = project_with(tmp_path)
    for principal in ("service:owner", "service:scheduler"):
        assert evaluate_job(project, build_job(kind=kind, principal=principal)).passed
    for principal in ("service:worker", "service:portal", "user:ana", "nobody"):
        assert evaluate_job(project, build_job(kind=kind, principal=principal)).passed == (
            JOB_KINDS[kind].note_kind is not None
        )


def test_with_policies_only_what_they_permit_may_run(tmp_path: Path):
    project = project_with(tmp_path, AUTHORS)
    assert evaluate_job(project, build_job(kind="train", subject="denials", principal="user:ana")).passed
    for change in ({"subject": "arrivals"}, {"principal": "service:owner"}, {"kind": "transform"}):
        values: dict[str, Any] = {"kind": "train", "subject": "denials", "principal": "user:ana", **change}
        assert not evaluate_job(project, build_job(**values)).passed


def test_a_user_who_is_not_in_the_file_any_more_has_no_role(tmp_path: Path):
    project = project_with(tmp_path, AUTHORS)
    gone = project.model_copy(update={"users": {}})
    assert not evaluate_job(gone, build_job(kind="train", subject="denials", principal="user:ana")).passed


def test_a_refusal_names_the_caller_the_action_and_the_job(tmp_path: Path):
    project, step = project_with(tmp_path, AUTHORS), RecordingStep(service="dispatcher")
    with pytest.raises(Refused, match="service:owner may not ingest source:vendor: no policy permits it"):
        record_refusal(project, build_job(), step=step)
    (entry,) = step.entries
    assert (entry.action, entry.phase, entry.subject) == ("authorize", "refused", "source:vendor")
    assert entry.facts["principal"] == "service:owner"
    assert entry.facts["job"] == build_job().id
