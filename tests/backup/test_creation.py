"""What is refused before anything is copied; tests/journeys/test_predictions.py backs a running project up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.backups import SETTINGS
from wellspring.backup.creation import create_backup
from wellspring.errors import Refused, Unavailable
from wellspring.project import Project, load_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "wellspring.toml").write_bytes(SETTINGS)
    return load_project(root)


@pytest.mark.parametrize("folder", ["backups", ".wellspring/backups", "."])
def test_a_folder_inside_the_project_is_refused(project: Project, folder: str):
    with pytest.raises(Refused, match="lies inside the project"):
        create_backup(project, project.root / folder)


def test_a_folder_that_holds_the_project_is_refused(project: Project):
    with pytest.raises(Refused, match="or holds it"):
        create_backup(project, project.root.parent)


def test_a_link_to_the_project_is_refused(project: Project, tmp_path: Path):
    (tmp_path / "link").symlink_to(project.root)
    with pytest.raises(Refused, match="lies inside the project"):
        create_backup(project, tmp_path / "link" / "backups")


def test_a_project_that_does_not_run_is_unavailable(project: Project, tmp_path: Path):
    with pytest.raises(Unavailable, match="are not up"):
        create_backup(project, tmp_path / "backups")
    assert not (tmp_path / "backups").exists()
