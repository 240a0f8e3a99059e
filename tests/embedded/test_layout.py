"""Folders have their owners, secrets are never open to others, and nobody else's folder is taken for ours."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import projects
from wellspring.embedded import layout
from wellspring.errors import Refused
from wellspring.project import Project, load_project
from wellspring.runtime.privileges import detect_privileges


@pytest.fixture
def here() -> Iterator[Project]:
    with projects.project() as project:
        yield project


def test_making_folders_twice_leaves_what_they_hold(here: Project):
    layout.ensure_ownership(here)
    layout.create_folders(here, detect_privileges(here))
    (here.lake_dir / "kept").write_text("x")
    layout.create_folders(here, detect_privileges(here))
    assert (here.lake_dir / "kept").read_text() == "x"
    closed, open_ = ("enclave", "openbao", "postgres", "valkey", "mlflow"), ("lake", "models", "journals/api")
    modes = {name: stat.S_IMODE((here.state_dir / name).stat().st_mode) for name in (*closed, *open_)}
    assert modes == {**dict.fromkeys(closed, 0o700), **dict.fromkeys(open_, 0o755)}


def test_what_the_api_will_read_is_there_before_it_is_confined(here: Project):
    layout.ensure_ownership(here)
    layout.create_folders(here, detect_privileges(here))
    for path in (here.lake_dir / "editions", here.lake_dir / "views", here.models_dir, here.ledger_dir):
        assert path.is_dir()
        assert path.stat().st_uid == detect_privileges(here).uid_of("worker")


def test_a_secret_file_is_its_owners_alone_from_its_first_instant(here: Project, monkeypatch: pytest.MonkeyPatch):
    layout.ensure_ownership(here)
    opened: list[int] = []
    real = os.open

    def watched(path: Path, flags: int, mode: int = 0o777) -> int:
        opened.append(mode)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", watched)
    old = os.umask(0)
    try:
        layout.write_secret_file(here.state_dir / "secret", b"x", detect_privileges(here), None)
    finally:
        os.umask(old)
    assert opened == [0o600]
    assert stat.S_IMODE((here.state_dir / "secret").stat().st_mode) == 0o600


def test_a_folder_without_a_project_is_refused(tmp_path: Path, here: Project):
    with pytest.raises(Refused, match="no project"):
        layout.ensure_ownership(here.model_copy(update={"root": tmp_path}))
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_place_of_the_state_folder_is_refused(here: Project, tmp_path: Path):
    here.state_dir.symlink_to(tmp_path)
    with pytest.raises(Refused, match="is not a folder"):
        layout.ensure_ownership(here)
    here.state_dir.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make somebody else's folder")
def test_a_state_folder_of_somebody_else_is_refused(here: Project):
    here.state_dir.mkdir()
    os.chown(here.state_dir, 12345, 12345)
    with pytest.raises(Refused, match="belongs to uid 12345"):
        layout.ensure_ownership(here)
    os.chown(here.state_dir, 0, 0)


@pytest.mark.parametrize("trap", ["link", "file", "open"])
def test_a_runtime_folder_that_others_could_have_prepared_is_refused(here: Project, tmp_path: Path, trap: str):
    layout.ensure_ownership(here)
    if trap == "link":
        here.runtime_dir.symlink_to(tmp_path)
    elif trap == "file":
        here.runtime_dir.touch()
    else:
        here.runtime_dir.mkdir()
        here.runtime_dir.chmod(0o777)
    try:
        with pytest.raises(Refused, match="made by somebody else"):
            layout.create_runtime_dir(here, detect_privileges(here))
    finally:
        here.runtime_dir.rmdir() if trap == "open" else here.runtime_dir.unlink()


def test_a_runtime_folder_that_a_crash_left_is_made_anew(here: Project):
    layout.ensure_ownership(here)
    layout.create_runtime_dir(here, detect_privileges(here))
    (here.runtime_dir / "old.sock").touch()
    layout.create_runtime_dir(here, detect_privileges(here))
    assert not (here.runtime_dir / "old.sock").exists()
    layout.remove_runtime_dir(here)
    assert not here.runtime_dir.exists()


def test_nothing_outside_the_project_changes_and_no_user_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Programs that would add a user are found first, and tell.
    added = tmp_path / "added"
    (tmp_path / "bin").mkdir()
    for name in ("useradd", "adduser", "usermod", "groupadd", "addgroup"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ntouch {added}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    root = tmp_path / "closed" / "project"
    root.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    (root / "wellspring.toml").write_text(projects.plain())
    here, outside = load_project(root), [root, *root.parents]
    before = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in outside]
    accounts = [Path(name).read_bytes() for name in ("/etc/passwd", "/etc/group")]
    layout.ensure_ownership(here)
    layout.create_folders(here, detect_privileges(here))
    layout.create_runtime_dir(here, detect_privileges(here))
    layout.remove_runtime_dir(here)
    assert [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in outside] == before
    assert [Path(name).read_bytes() for name in ("/etc/passwd", "/etc/group")] == accounts
    assert not added.exists()
