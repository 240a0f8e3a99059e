"""Plugins are found by entry point; an unknown, doubled or broken one is a clear error."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

from wellspring.errors import ProjectError
from wellspring.models.estimators import registry as estimators
from wellspring.models.tasks import registry as tasks
from wellspring.models.tasks.binary import Binary
from wellspring.runtime.plugins import list_plugins, load_plugin


def install(folder: Path, package: str, lines: str, code: str = "") -> None:
    """Write a package as an installer would: its module, and its metadata with entry points."""
    (folder / f"{package}.py").write_text(code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[wellspring.tasks]\n{lines}\n[wellspring.estimators]\n{lines}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_built_in_plugins_are_registered():
    assert tasks.find_task("binary") is Binary
    assert {"binary"} <= set(tasks.list_tasks())
    assert {"lightgbm"} <= set(estimators.list_estimators())
    assert "model.lgb" in estimators.list_model_files()


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ProjectError, match=r"no plugin 'binray' in wellspring\.tasks") as result:
        tasks.find_task("binray")
    assert result.value.fix == "did you mean 'binary'?; or install its package"


def test_a_name_of_two_packages_is_refused(site: Path):
    install(site, "mine", "binary = mine:Binary")
    with pytest.raises(ProjectError, match=r"two entries named 'binary': mine:Binary and wellspring\.models"):
        list_plugins("wellspring.tasks")


def test_a_plugin_without_its_package_names_it(site: Path):
    install(site, "mine", "fresh = mine:Fresh", "import a_package_that_is_missing\n")
    with pytest.raises(
        ProjectError, match=r"the plugin 'fresh' of wellspring\.estimators cannot be imported: .*a_package"
    ):
        load_plugin("wellspring.estimators", "fresh")
    # The others still work, and its file name is unknown.
    assert "model.lgb" in estimators.list_model_files()
    sys.modules.pop("mine", None)


def test_a_plugin_that_does_not_exist_or_lacks_the_port_is_refused(site: Path):
    install(site, "mine", "fresh = mine:Fresh\ngone = mine:Gone\nother = mine:Other", (
        "class Fresh:\n    name = 'fresh'\n\nclass Other:\n    name = 'another'\n"
    ))  # fmt: skip
    with pytest.raises(ProjectError, match="does not exist: mine:Gone"):
        tasks.find_task("gone")
    with pytest.raises(ProjectError, match="has no file_name, attribution"):
        estimators.find_estimator("fresh")
    sys.modules.pop("mine", None)


def test_a_plugin_is_registered_under_its_own_name(site: Path):
    install(site, "mine", "second = wellspring.models.tasks.binary:Binary")
    with pytest.raises(ProjectError, match="registers 'second', but the class is named 'binary'"):
        tasks.find_task("second")
    assert importlib.metadata.version("mine") == "1.0"
