from pathlib import Path

import pytest

from tests.builders.plugins import write_package
from wellspring.errors import ProjectError
from wellspring.models.estimators.lightgbm import LightGBM
from wellspring.models.estimators.registry import GROUP, find_estimator, list_estimators


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_built_in_estimators_are_found_by_name():
    assert "lightgbm" in list_estimators()
    assert find_estimator("lightgbm") is LightGBM


def test_an_unknown_estimator_suggests_the_nearest():
    with pytest.raises(ProjectError, match="unknown estimator 'lightgmb'") as result:
        find_estimator("lightgmb")
    assert result.value.fix == "did you mean 'lightgbm'?"


def test_a_estimator_of_two_packages_is_refused(installed: Path):
    write_package(installed, "mine", {GROUP: {"lightgbm": "mine_estimators:LightGBM"}})
    with pytest.raises(ProjectError, match="registered twice"):
        find_estimator("lightgbm")


def test_a_class_without_the_port_or_under_another_name_is_refused(installed: Path):
    entries = {"fresh": "plugin_of_mine:Fresh", "second": "wellspring.models.estimators.lightgbm:LightGBM"}
    write_package(installed, "mine", {GROUP: entries}, modules={"plugin_of_mine": "class Fresh:\n    name = 'fresh'\n"})
    with pytest.raises(ProjectError, match="'fresh' lacks file_name, attribution"):
        find_estimator("fresh")
    with pytest.raises(ProjectError, match="'second' has another name than its entry point"):
        find_estimator("second")


def test_an_estimator_that_cannot_be_imported_does_not_hinder_the_others(installed: Path):
    write_package(installed, "mine", {GROUP: {"fresh": "no_such_module:Fresh", "broken": "plugin_of_mine:Broken"}},
                  modules={"plugin_of_mine": "raise RuntimeError('at import')\n"})  # fmt: skip
    with pytest.raises(ProjectError, match="needs the package no_such_module"):
        find_estimator("fresh")
    with pytest.raises(ProjectError, match="cannot be imported"):
        find_estimator("broken")
    assert find_estimator("lightgbm").file_name == "model.lgb"


@pytest.mark.parametrize("file_name", ["model.json", "model.pkl", "model.joblib", "../model.lgb", "weights.bin"])
def test_an_estimator_with_an_unsafe_file_name_is_refused(installed: Path, file_name: str):
    module = f"unsafe_plugin_{abs(hash(file_name))}"
    source = (
        "from wellspring.models.estimators.lightgbm import LightGBM\n"
        f"class Fresh(LightGBM):\n    name = 'fresh'\n    file_name = {file_name!r}\n"
    )
    write_package(installed, "mine", {GROUP: {"fresh": f"{module}:Fresh"}}, modules={module: source})
    with pytest.raises(ProjectError, match="the file name of the estimator 'fresh'"):
        find_estimator("fresh")
