from pathlib import Path

import pytest

from tests.builders.plugins import write_package
from wellspring.errors import ProjectError
from wellspring.models.tasks.binary import Binary
from wellspring.models.tasks.registry import GROUP, find_task, list_tasks


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_built_in_tasks_are_found_by_name():
    assert "binary" in list_tasks()
    assert find_task("binary") is Binary


def test_an_unknown_task_suggests_the_nearest():
    with pytest.raises(ProjectError, match="unknown task 'binray'") as result:
        find_task("binray")
    assert result.value.fix == "did you mean 'binary'?"


def test_a_task_of_two_packages_is_refused(installed: Path):
    write_package(installed, "mine", {GROUP: {"binary": "mine_tasks:Binary"}})
    with pytest.raises(ProjectError, match="registered twice"):
        find_task("binary")


def test_a_class_without_the_port_or_under_another_name_is_refused(installed: Path):
    entries = {"fresh": "plugin_of_mine:Fresh", "second": "wellspring.models.tasks.binary:Binary"}
    write_package(installed, "mine", {GROUP: entries}, modules={"plugin_of_mine": "class Fresh:\n    name = 'fresh'\n"})
    with pytest.raises(ProjectError, match="'fresh' lacks objective_kind, main_metric"):
        find_task("fresh")
    with pytest.raises(ProjectError, match="'second' has another name than its entry point"):
        find_task("second")
