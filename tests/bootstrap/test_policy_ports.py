"""The policies in force are opened from a project's folder, without a server."""

from __future__ import annotations

from pathlib import Path

from wellspring.bootstrap.policy_ports import load_policies_in_force, open_released_policies
from wellspring.project import load_project


def test_a_project_without_a_release_has_the_policies_of_its_folder(tmp_path: Path):
    (tmp_path / "wellspring.toml").write_text('[project]\nname = "tiny"\ntenant = "acme"\n[sources]\n[models]\n')
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/a.cedar").write_text("permit (principal, action, resource);")
    project = load_project(tmp_path)
    assert load_policies_in_force(project, None).files == {"a.cedar": "permit (principal, action, resource);"}
    assert open_released_policies(project, None).find_release() is None
