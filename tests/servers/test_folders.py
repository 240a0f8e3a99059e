"""Folders have their owners, secrets are never open to others, and nobody else's folder is taken for ours."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import houses
from wellspring.errors import Refused
from wellspring.project import Project, load
from wellspring.servers import folders
from wellspring.servers.privileges import survey


@pytest.fixture
def here() -> Iterator[Project]:
    with houses.project() as project:
        yield project


def test_making_folders_twice_leaves_what_they_hold(here: Project):
    folders.own(here)
    folders.make(here, survey(here))
    (here.lake / "kept").write_text("x")
    folders.make(here, survey(here))
    assert (here.lake / "kept").read_text() == "x"
    closed, open_ = ("enclave", "openbao", "postgres", "valkey", "mlflow"), ("lake", "models", "journals/api")
    modes = {name: stat.S_IMODE((here.state / name).stat().st_mode) for name in (*closed, *open_)}
    assert modes == {**dict.fromkeys(closed, 0o700), **dict.fromkeys(open_, 0o755)}


def test_what_the_api_will_read_is_there_before_it_is_confined(here: Project):
    folders.own(here)
    folders.make(here, survey(here))
    for path in (here.lake / "editions", here.lake / "views", here.models_kept, here.ledger):
        assert path.is_dir()
        assert path.stat().st_uid == survey(here).uid("worker")


def test_a_secret_file_is_its_owners_alone_from_its_first_instant(here: Project, monkeypatch: pytest.MonkeyPatch):
    folders.own(here)
    opened: list[int] = []
    real = os.open

    def watched(path: Path, flags: int, mode: int = 0o777) -> int:
        opened.append(mode)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", watched)
    old = os.umask(0)
    try:
        folders.write_secret(here.state / "secret", b"x", survey(here), None)
    finally:
        os.umask(old)
    assert opened == [0o600]
    assert stat.S_IMODE((here.state / "secret").stat().st_mode) == 0o600


def test_a_folder_without_a_project_is_refused(tmp_path: Path, here: Project):
    with pytest.raises(Refused, match="no project"):
        folders.own(here.model_copy(update={"root": tmp_path}))
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_place_of_the_state_folder_is_refused(here: Project, tmp_path: Path):
    here.state.symlink_to(tmp_path)
    with pytest.raises(Refused, match="is not a folder"):
        folders.own(here)
    here.state.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make somebody else's folder")
def test_a_state_folder_of_somebody_else_is_refused(here: Project):
    here.state.mkdir()
    os.chown(here.state, 12345, 12345)
    with pytest.raises(Refused, match="belongs to uid 12345"):
        folders.own(here)
    os.chown(here.state, 0, 0)


@pytest.mark.parametrize("trap", ["link", "file", "open"])
def test_a_runtime_folder_that_others_could_have_prepared_is_refused(here: Project, tmp_path: Path, trap: str):
    folders.own(here)
    if trap == "link":
        here.runtime.symlink_to(tmp_path)
    elif trap == "file":
        here.runtime.touch()
    else:
        here.runtime.mkdir()
        here.runtime.chmod(0o777)
    try:
        with pytest.raises(Refused, match="made by somebody else"):
            folders.make_runtime(here, survey(here))
    finally:
        here.runtime.rmdir() if trap == "open" else here.runtime.unlink()


def test_a_runtime_folder_that_a_crash_left_is_made_anew(here: Project):
    folders.own(here)
    folders.make_runtime(here, survey(here))
    (here.runtime / "old.sock").touch()
    folders.make_runtime(here, survey(here))
    assert not (here.runtime / "old.sock").exists()
    folders.sweep_runtime(here)
    assert not here.runtime.exists()


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
    (root / "wellspring.toml").write_text(houses.plain())
    here, outside = load(root), [root, *root.parents]
    before = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in outside]
    accounts = [Path(name).read_bytes() for name in ("/etc/passwd", "/etc/group")]
    folders.own(here)
    folders.make(here, survey(here))
    folders.make_runtime(here, survey(here))
    folders.sweep_runtime(here)
    assert [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in outside] == before
    assert [Path(name).read_bytes() for name in ("/etc/passwd", "/etc/group")] == accounts
    assert not added.exists()
