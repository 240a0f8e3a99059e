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
def here() -> Iterator[Project]:
    with projects.project() as project:
        yield project


def ills(here: Project) -> str:
    found = [ill for ill in run_health_checks(here) if not ill.ok]
    assert all(ill.fix for ill in found)
    return "\n".join(ill.what for ill in found)


def test_a_fresh_project_is_well_and_left_as_it_was(here: Project):
    before = sorted(here.root.rglob("*"))
    assert ills(here) == ""
    assert sorted(here.root.rglob("*")) == before


def test_a_project_without_contracts_is_ill(here: Project):
    for path in here.contracts_dir.iterdir():
        path.unlink()
    assert "no contract" in ills(here)


def test_each_mistake_in_contracts_policies_roles_and_models_is_named():
    people = '[models]\n[users.ines]\nroles = ["auhtor"]\n[users.omar]\nroles = ["approver"]\n'
    with projects.project(sections=people) as here:
        for folder in ("policies", "models"):
            (here.root / folder).mkdir()
        policy = here.root / "policies" / "people.cedar"
        policy.write_text('permit (principal in Role::"approver", action == Action::"approve", resource);')
        (here.root / "models" / "mine.py").write_text("x = 1\nx = = 2\n")
        (here.root / "models" / "runs.py").write_text(f"open({str(here.root / 'ran')!r}, 'w')\n")
        said = ills(here)
        assert "ines has the role 'auhtor', and no policy names it" in said
        assert "omar" not in said
        assert f"{here.root / 'models' / 'mine.py'}:2: it is not Python" in said
        assert not (here.root / "ran").exists()
        policy.write_text("premit (principal, action, resource);")
        (here.contracts_dir / "medical_claim.odcs.yaml").write_text("apiVersion: v3.1.0\n")
        said = ills(here)
        assert "people.cedar" in said
        assert "medical_claim.odcs.yaml" in said


def test_a_secret_that_others_may_read_is_ill(here: Project):
    layout.ensure_ownership(here)
    layout.write_secret_file(here.state_dir / "supervisor.key", b"{}", detect_privileges(here), None)
    assert ills(here) == ""
    (here.state_dir / "supervisor.key").chmod(0o644)
    assert "supervisor.key has mode 0644" in ills(here)


def test_a_lost_supervisor_key_is_ill(here: Project):
    layout.ensure_ownership(here)
    here.ledger_dir.mkdir()
    (here.ledger_dir / "checkpoint").touch()
    assert "supervisor.key is gone" in ills(here)


def test_leftovers_of_a_crash_are_ill(here: Project):
    layout.ensure_ownership(here)
    here.runtime_dir.mkdir()
    assert "was left" in ills(here)
    gone = ServerState(pid=os.getpid(), start_ticks=1, version="1")
    began = datetime(2026, 1, 1, tzinfo=UTC)
    running = RunState(supervisor=gone, servers={"sftp": gone}, started_at=began, separation="user")
    write_json_atomically(here.state_dir / "run.json", running.model_dump(mode="json"))
    assert "ended by themselves: sftp, supervisor" in ills(here)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make somebody else's folder")
def test_a_state_folder_of_somebody_else_is_ill(here: Project):
    layout.ensure_ownership(here)
    os.chown(here.state_dir, 12345, 12345)
    assert "belongs to uid 12345" in ills(here)
    os.chown(here.state_dir, 0, 0)
