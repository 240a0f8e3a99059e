"""The `new project` command: its files, and the folders that it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wellspring.cli import cli
from wellspring.cli.context import run_command
from wellspring.project import load_project
from wellspring.trust import policy


def test_the_tests_of_a_new_project_pass(shop: Path):
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(argv, cwd=shop, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert load_project(shop).users.keys() == {"ann", "bob"}
    assert (shop / "policies" / "wellspring.cedarschema").read_text() == policy.CEDAR_SCHEMA
    assert not list(shop.rglob("*.tmpl"))


def test_an_unknown_kind_of_source_suggests_the_nearest_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert run_command(cli, ["new", "project", "shop", "--source", "sftpp"]) == 78
    assert "did you mean 'sftp'?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("holds", ["thesis.txt", "wellspring.toml", ".hidden"])
def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / holds).write_text("years of work")
    assert run_command(cli, ["new", "project", "shop"]) == 77
    assert [(path.name, path.read_text()) for path in (tmp_path / "shop").iterdir()] == [(holds, "years of work")]
