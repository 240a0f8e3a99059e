"""The doctor finds what would stop a project, and changes nothing."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.builders import projects
from wellspring.embedded import layout
from wellspring.project import Project, RunState, ServerState, write_json_atomically
from wellspring.runtime.privileges import detect_privileges
from wellspring.supervisor.doctor import run_health_checks


@pytest.fixture
def project() -> Iterator[Project]:
    with projects.create_project() as project:
        yield project


def ills(project: Project) -> str:
    matches = [ill for ill in run_health_checks(project) if not ill.ok]
    assert all(ill.fix for ill in matches)
    return "\n".join(ill.what for ill in matches)


def test_a_fresh_project_is_well_and_left_as_it_was(project: Project):
    before = sorted(project.root.rglob("*"))
    assert ills(project) == ""
    assert sorted(project.root.rglob("*")) == before


def test_a_project_without_contracts_is_ill(project: Project):
    for path in project.contracts_dir.iterdir():
        path.unlink()
    assert "no contract" in ills(project)


def test_each_mistake_in_contracts_policies_roles_and_models_is_named():
    people = '[models]\n[users.ines]\nroles = ["auhtor"]\n[users.omar]\nroles = ["approver"]\n'
    with projects.create_project(sections=people) as project:
        for folder in ("policies", "models"):
            (project.root / folder).mkdir()
        policy = project.root / "policies" / "people.cedar"
        policy.write_text('permit (principal in Role::"approver", action == Action::"approve", resource);')
        (project.root / "models" / "mine.py").write_text("x = 1\nx = = 2\n")
        (project.root / "models" / "runs.py").write_text(f"open({str(project.root / 'ran')!r}, 'w')\n")
        output = ills(project)
        assert "ines has the role 'auhtor', and no policy names it" in output
        assert "omar" not in output
        assert f"{project.root / 'models' / 'mine.py'}:2: it is not Python" in output
        assert not (project.root / "ran").exists()
        policy.write_text("premit (principal, action, resource);")
        (project.contracts_dir / "medical_claim.odcs.yaml").write_text("apiVersion: v3.1.0\n")
        output = ills(project)
        assert "people.cedar" in output
        assert "medical_claim.odcs.yaml" in output


def test_a_secret_that_others_may_read_is_ill(project: Project):
    layout.ensure_ownership(project)
    layout.write_secret_file(project.state_dir / "supervisor.key", b"{}", detect_privileges(project), None)
    assert ills(project) == ""
    (project.state_dir / "supervisor.key").chmod(0o644)
    assert "supervisor.key has mode 0644" in ills(project)


def test_a_lost_supervisor_key_is_ill(project: Project):
    layout.ensure_ownership(project)
    project.ledger_dir.mkdir()
    (project.ledger_dir / "checkpoint").touch()
    assert "supervisor.key is gone" in ills(project)


def test_leftovers_of_a_crash_are_ill(project: Project):
    layout.ensure_ownership(project)
    project.runtime_dir.mkdir()
    assert "was left" in ills(project)
    gone = ServerState(pid=os.getpid(), start_ticks=1, version="1")
    began = datetime(2026, 1, 1, tzinfo=UTC)
    running = RunState(supervisor=gone, servers={"sftp": gone}, started_at=began, separation="user")
    write_json_atomically(project.state_dir / "run.json", running.model_dump(mode="json"))
    assert "ended by themselves: sftp, supervisor" in ills(project)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make somebody else's folder")
def test_a_state_folder_of_somebody_else_is_ill(project: Project):
    layout.ensure_ownership(project)
    os.chown(project.state_dir, 12345, 12345)
    assert "belongs to uid 12345" in ills(project)
    os.chown(project.state_dir, 0, 0)
