from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.backups import MASTER_KEY, ORIGIN, PASSPHRASES, write_backup
from tests.builders.command_line import Run
from tests.builders.journal_keys import SERVICE_KEY_LINES
from wellspring.backup.master_key import split_key
from wellspring.cli.pseudo_terminal import TerminalResult, run_in_pty
from wellspring.embedded import uid_ranges
from wellspring.project import load_project

FILES = {".wellspring/ledger/checkpoint": b"checkpoint"}


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / "shop"
    yield target
    if (target / "wellspring.toml").is_file():
        uid_ranges.release_uid_range(load_project(target))


@pytest.fixture
def shares(tmp_path: Path) -> list[str]:
    """The files of two custodians, as options of the command."""
    options: list[str] = []
    for share in split_key(MASTER_KEY, PASSPHRASES, project="shop", origin=ORIGIN):
        path = tmp_path / f"custodian-{share.custodian}.json"
        path.write_text(share.model_dump_json())
        options += ["--share", str(path)]
    return options


def restore_at_terminal(backups: Path, target: Path, *options: str) -> TerminalResult:
    words = ["backup", "restore", str(backups), "--project", str(target), *options]
    prompts = [(f"custodian {number}: ", text) for number, text in enumerate(PASSPHRASES, start=1)]
    return run_in_pty([sys.executable, "-m", "wellspring.cli", *words], prompts)


def test_create_without_servers_is_unavailable(run: Run, root: Path, tmp_path: Path):
    output = run("backup", "create", "--to", tmp_path / "backups", "--project", root)
    assert (output.code, "are not up" in output.err) == (69, True)


def test_create_inside_the_project_is_refused(run: Run, root: Path):
    output = run("backup", "create", "--to", root / "backups", "--project", root)
    assert (output.code, "lies inside the project" in output.err) == (77, True)


def test_verify_names_a_changed_file(run: Run, tmp_path: Path):
    backups = write_backup(tmp_path / "backups", Path("/srv/shop"), FILES)
    (tmp_path / "keys.txt").write_text("\n".join(SERVICE_KEY_LINES))
    words = ("backup", "verify", backups.folder, "--key", tmp_path / "keys.txt", "--json")
    intact = run(*words)
    assert (intact.code, intact.document["damaged"], intact.document["signer_is_trusted"]) == (0, [], True)
    for path in (backups.folder / "content").rglob("*"):
        if path.is_file() and path.read_bytes() == b"checkpoint":
            path.write_bytes(b"chackpoint")
    changed = run(*words)
    assert (changed.code, changed.document["damaged"]) == (20, [".wellspring/ledger/checkpoint"])


def test_verify_without_a_project_asks_for_the_key(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    backups = write_backup(tmp_path / "backups", Path("/srv/shop"), FILES)
    output = run("backup", "verify", backups.folder)
    assert (output.code, "use --key" in output.out) == (10, True)


def test_verify_of_an_empty_folder_is_not_found(run: Run, tmp_path: Path):
    assert run("backup", "verify", tmp_path).code == 66


@pytest.mark.parametrize("words", [[], ["--share", "one"], ["--share", "one", "--share", "two", "--share", "three"]])
def test_restore_needs_two_shares(run: Run, tmp_path: Path, words: list[str]):
    assert run("backup", "restore", tmp_path, "--project", tmp_path, *words).code == 64


def test_restore_needs_a_terminal(run: Run, tmp_path: Path, target: Path, shares: list[str]):
    backups = write_backup(tmp_path / "backups", target, FILES)
    output = run("backup", "restore", backups.folder, "--project", target, *shares)
    assert (output.code, "needs a terminal" in output.err) == (77, True)


def test_restore_over_a_project_is_refused_before_a_passphrase(run: Run, tmp_path: Path, root: Path, shares: list[str]):
    backups = write_backup(tmp_path / "backups", root, FILES)
    output = run("backup", "restore", backups.folder, "--project", root, *shares)
    assert (output.code, "holds a project" in output.err) == (77, True)


def test_two_custodians_restore_at_a_terminal(tmp_path: Path, target: Path, shares: list[str]):
    backups = write_backup(tmp_path / "backups", target, FILES)
    result = restore_at_terminal(backups.folder, target, *shares)
    assert result.exit_code == 0, result.screen
    assert (target / ".wellspring/seal.key").read_bytes() == MASTER_KEY
    assert not any(text in result.screen + result.out for text in PASSPHRASES)


def test_the_export_of_the_key_needs_a_terminal_and_a_folder_outside(run: Run, root: Path, tmp_path: Path):
    output = run("backup", "export-key", "--to", tmp_path / "shares", "--project", root)
    assert (output.code, "needs a terminal" in output.err) == (77, True)
    argv = [sys.executable, "-m", "wellspring.cli", "backup", "export-key", "--project", str(root), "--to"]
    result = run_in_pty([*argv, os.fspath(root / "shares")], [])
    assert (result.exit_code, "lies inside the project" in result.screen) == (77, True)
