"""The policies in force are those that were released: an edit on disk and a moved pointer change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.changes import ChangedProject, build_change
from wellspring.errors import CorruptedError, ProjectError
from wellspring.records.changes import ChangeRelease
from wellspring.trust import policy
from wellspring.trust.changes.released_policies import ReleasedPolicies
from wellspring.trust.policy import PolicySet

PERMIT, WIDER = "permit (principal, action, resource);", "permit (principal, action, resource);\n// and more"


@pytest.fixture
def project(tmp_path: Path) -> ChangedProject:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/a.cedar").write_text(PERMIT)
    return ChangedProject(tmp_path / "changes", name="project")


def released(project: ChangedProject, tmp_path: Path, **values: PolicySet) -> ReleasedPolicies:
    return ReleasedPolicies(project.store, tmp_path / "policies", project.books, **values)


def keep(project: ChangedProject, text: str) -> str:
    return project.store.objects.put(policy.encode_policies({"a.cedar": text}))


def release(project: ChangedProject, first: ChangeRelease, text: str) -> ChangeRelease:
    change = project.propose(build_change(name="project", content=keep(project, text), replaces=first.id))
    project.approve(change)
    project.activate(change)
    return change


def test_before_the_first_release_the_files_on_disk_are_in_force(project: ChangedProject, tmp_path: Path):
    policies = released(project, tmp_path)
    version = policies.read_version()
    assert policies.load().files == {"a.cedar": PERMIT}
    (tmp_path / "policies/a.cedar").write_text(WIDER)
    assert policies.read_version() != version
    assert (policies.load().files, policies.compare_disk()) == ({"a.cedar": WIDER}, "in force")


def test_a_file_that_was_edited_on_disk_acts_when_it_is_released(project: ChangedProject, tmp_path: Path):
    policies = released(project, tmp_path)
    first = project.adopt(keep(project, PERMIT))
    assert policies.compare_disk() == "in force"
    version = policies.read_version()
    (tmp_path / "policies/a.cedar").write_text(WIDER)
    assert (policies.load().files, policies.compare_disk()) == ({"a.cedar": PERMIT}, "not released")
    assert policies.read_version() == version
    (tmp_path / "policies/a.cedar").write_text("permit (")
    assert (policies.load().files, policies.compare_disk()) == ({"a.cedar": PERMIT}, "invalid")
    release(project, first, WIDER)
    assert (policies.load().files, policies.read_version() == version) == ({"a.cedar": WIDER}, False)


def test_a_pointer_that_the_log_does_not_have_is_not_followed(project: ChangedProject, tmp_path: Path):
    policies = released(project, tmp_path)
    first = project.adopt(keep(project, PERMIT))
    second = release(project, first, WIDER)
    unapproved = project.propose(build_change(name="project", content=keep(project, "// none"), replaces=second.id))
    for change in (first, unapproved):
        project.store.set_live(change)
        with pytest.raises(CorruptedError):
            policies.load()
    (tmp_path / "changes/live/policy/project").unlink()
    with pytest.raises(CorruptedError, match="names no release, but the ledger names"):
        policies.load()


def test_a_switch_that_runs_counts_with_its_signatures(project: ChangedProject, tmp_path: Path):
    first = project.adopt(keep(project, PERMIT))
    change = project.propose(build_change(name="project", content=keep(project, WIDER), replaces=first.id))
    project.approve(change)
    # The pointer has moved, and the log does not have the end of the switch yet.
    project.store.set_live(change)
    assert released(project, tmp_path).load().files == {"a.cedar": WIDER}


def test_the_default_is_for_a_project_without_release_and_files(project: ChangedProject, tmp_path: Path):
    default = PolicySet({"default.cedar": PERMIT})
    assert released(project, tmp_path, default=default).load().files == {"a.cedar": PERMIT}
    (tmp_path / "policies/a.cedar").unlink()
    assert released(project, tmp_path, default=default).load() is default
    project.adopt(keep(project, WIDER))
    assert released(project, tmp_path, default=default).load().files == {"a.cedar": WIDER}


def test_a_file_that_is_no_policy_is_an_error_before_the_first_release(project: ChangedProject, tmp_path: Path):
    (tmp_path / "policies/a.cedar").write_text("permit (principal, action, nonsense);")
    with pytest.raises(ProjectError, match=r"a\.cedar:1"):
        released(project, tmp_path).load()
