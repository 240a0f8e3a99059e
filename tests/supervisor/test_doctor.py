"""The health checks find what would stop a project, and change nothing."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.builders import projects
from wellspring.embedded import layout
from wellspring.project import Project
from wellspring.runtime import sandbox
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.run_state import RunState, ServerState
from wellspring.supervisor import doctor
from wellspring.supervisor.doctor import run_health_checks


@pytest.fixture
def project() -> Iterator[Project]:
    with projects.create_project() as project:
        yield project


def failed_checks(project: Project) -> str:
    matches = [check for check in run_health_checks(project) if not check.ok]
    assert all(check.fix for check in matches)
    return "\n".join(check.what for check in matches)


def test_a_new_project_passes_and_is_not_changed(project: Project):
    before = sorted(project.root.rglob("*"))
    assert failed_checks(project) == ""
    assert sorted(project.root.rglob("*")) == before


def test_a_project_without_contracts_fails(project: Project):
    for path in project.contracts_dir.iterdir():
        path.unlink()
    assert "no contract" in failed_checks(project)


def test_each_mistake_in_contracts_policies_roles_and_models_is_reported():
    users = '[models]\n[users.ines]\nroles = ["auhtor"]\n[users.omar]\nroles = ["approver"]\n'
    with projects.create_project(sections=users) as project:
        for folder in ("policies", "models"):
            (project.root / folder).mkdir()
        policy = project.root / "policies" / "users.cedar"
        policy.write_text('permit (principal in Role::"approver", action == Action::"approve", resource);')
        (project.root / "models" / "mine.py").write_text("x = 1\nx = = 2\n")
        (project.root / "models" / "runs.py").write_text(f"open({str(project.root / 'ran')!r}, 'w')\n")
        output = failed_checks(project)
        assert "user ines has the role 'auhtor', but no policy names it" in output
        assert "omar" not in output
        assert f"{project.root / 'models' / 'mine.py'}:2: not valid Python" in output
        assert not (project.root / "ran").exists()
        policy.write_text("premit (principal, action, resource);")
        (project.contracts_dir / "medical_claim.odcs.yaml").write_text("apiVersion: v3.1.0\n")
        output = failed_checks(project)
        assert "users.cedar" in output
        assert "medical_claim.odcs.yaml" in output


def test_a_detector_that_does_not_find_its_example_fails():
    own = '[dlp.detectors.plan_id]\npattern = "P[0-9]{4}"\nexamples = ["P123"]\n'
    with projects.create_project(sections=own) as project:
        assert "[dlp.detectors.plan_id] does not find its example 'P123'" in failed_checks(project)


def test_a_secret_that_others_may_read_fails(project: Project):
    layout.ensure_ownership(project)
    layout.write_secret_file(project.state_dir / "supervisor.key", b"{}", detect_privileges(project), None)
    assert failed_checks(project) == ""
    (project.state_dir / "supervisor.key").chmod(0o644)
    assert "supervisor.key has mode 0644" in failed_checks(project)


def test_a_lost_supervisor_key_fails(project: Project):
    layout.ensure_ownership(project)
    project.ledger_dir.mkdir()
    (project.ledger_dir / "checkpoint").touch()
    assert "supervisor.key is missing" in failed_checks(project)


def test_leftovers_of_a_crash_fail(project: Project):
    layout.ensure_ownership(project)
    project.runtime_dir.mkdir()
    assert "no server runs, but" in failed_checks(project)
    gone = ServerState(pid=os.getpid(), start_ticks=1, version="1")
    began = datetime(2026, 1, 1, tzinfo=UTC)
    running = RunState(supervisor=gone, servers={"sftp": gone}, started_at=began, separation="user")
    (project.state_dir / "run.json").write_text(running.model_dump_json())
    assert "servers that have exited: sftp, supervisor" in failed_checks(project)


def test_a_setting_that_a_running_server_has_not_read_fails(project: Project):
    layout.ensure_ownership(project)
    gone = ServerState(pid=os.getpid(), start_ticks=1, version="1")
    running = RunState(
        supervisor=gone, servers={"enclave": gone}, started_at=datetime(2026, 1, 1, tzinfo=UTC), separation="user"
    )
    (project.state_dir / "run.json").write_text(running.model_dump_json())
    failed = failed_checks(project)
    assert "enclave has not read the change of [project], [sources] in wellspring.toml" in failed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change a folder's owner")
def test_a_state_folder_of_another_user_fails(project: Project):
    layout.ensure_ownership(project)
    os.chown(project.state_dir, 12345, 12345)
    assert "belongs to uid 12345" in failed_checks(project)
    os.chown(project.state_dir, 0, 0)


def test_closed_folders_without_landlock_fail(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandbox, "read_abi_version", lambda: 0)
    for closed in (True, False):
        granted = detect_privileges(project)._replace(closed_folders=closed)
        monkeypatch.setattr(doctor, "detect_privileges", lambda _, granted=granted: granted)
        assert ("may read no closed folder" in failed_checks(project)) == closed
