"""Plugins are found by entry point; each mistake of a package is a project error that names the package."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tests.builders.plugins import write_package
from wellspring.errors import ProjectError
from wellspring.plugins import PluginRegistry

GROUP = "wellspring.test_dates"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def registry() -> PluginRegistry[datetime.date]:
    return PluginRegistry(GROUP, datetime.date, noun="date")


def register(folder: Path, package: str, **values: str) -> None:
    write_package(folder, package, {GROUP: values})


def test_an_implementation_of_another_package_is_found_by_name(installed: Path):
    source = "import datetime\nEASTER = datetime.date(2026, 4, 5)\n"
    write_package(installed, "feasts", {GROUP: {"easter": "feasts_2026:EASTER"}}, modules={"feasts_2026": source})
    register(installed, "others", first="datetime:date.min")
    assert registry().names() == ["easter", "first"]
    assert registry().load("easter") == datetime.date(2026, 4, 5)


def test_names_are_listed_without_importing_a_plugin(installed: Path):
    register(installed, "others", broken="no_such_module:NAME")
    assert registry().names() == ["broken"]


def test_an_unknown_name_is_an_error_with_the_nearest_name(installed: Path):
    register(installed, "others", first="datetime:date.min")
    with pytest.raises(ProjectError, match="unknown date 'frist'") as error:
        registry().load("frist")
    assert error.value.fix == "did you mean 'first'?"


def test_without_a_plugin_the_error_says_so():
    with pytest.raises(ProjectError) as error:
        registry().load("first")
    assert error.value.fix == "there is: none"


def test_a_name_of_two_packages_is_an_error_that_names_both(installed: Path):
    register(installed, "others", first="datetime:date.min")
    register(installed, "rivals", first="datetime:date.max")
    with pytest.raises(ProjectError, match=r"registered twice: by (others and rivals|rivals and others)"):
        registry().load("first")


def test_a_package_that_is_on_the_path_twice_is_one_registration(installed: Path, monkeypatch: pytest.MonkeyPatch):
    register(installed / "a", "others", first="datetime:date.min")
    register(installed / "b", "others", first="datetime:date.min")
    for folder in ("a", "b"):
        monkeypatch.syspath_prepend(str(installed / folder))
    assert registry().load("first") == datetime.date.min


def test_a_missing_package_is_named_with_the_command_that_installs_it(installed: Path):
    source = "import no_such_vendor.client\n"
    write_package(
        installed, "others", {GROUP: {"first": "plugin_of_others:NAME"}}, modules={"plugin_of_others": source}
    )
    with pytest.raises(ProjectError, match="needs the package no_such_vendor") as error:
        registry().load("first")
    assert error.value.fix == "install it: pip install no_such_vendor"


def test_an_entry_point_to_an_absent_object_is_an_error(installed: Path):
    register(installed, "others", first="datetime:NAME")
    with pytest.raises(ProjectError, match="'first' of others cannot be imported"):
        registry().load("first")


def test_an_object_of_another_class_is_an_error(installed: Path):
    register(installed, "others", first="datetime:MAXYEAR")
    with pytest.raises(ProjectError, match="'first' of others is not a date"):
        registry().load("first")
