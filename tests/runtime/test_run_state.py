from pathlib import Path

import pytest

from tests.builders.projects import minimal_config
from wellspring.errors import ProjectError, Unavailable
from wellspring.project import Project, load_project
from wellspring.runtime.run_state import find_server_port, read_run_state


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "wellspring.toml").write_text(minimal_config())
    return load_project(tmp_path)


def test_a_project_that_is_not_up_is_unavailable(project: Project):
    assert read_run_state(project) is None
    with pytest.raises(Unavailable) as error:
        find_server_port(project, "vendor")
    assert (error.value.exit_code, error.value.fix) == (69, "run `wellspring up`")


def test_an_invalid_run_json_is_a_project_error(project: Project):
    project.state_dir.mkdir()
    (project.state_dir / "run.json").write_text('{"supervisor": 1}')
    with pytest.raises(ProjectError, match=r"run\.json is invalid"):
        read_run_state(project)
