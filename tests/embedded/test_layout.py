"""Folders have their owners and modes, secret files are private, and folders of other users are refused."""

import os
import shutil
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
def project() -> Iterator[Project]:
    with projects.create_project() as project:
        yield project


def test_creating_folders_twice_keeps_their_content(project: Project):
    layout.ensure_ownership(project)
    layout.create_folders(project, detect_privileges(project))
    (project.lake_dir / "kept").write_text("x")
    layout.create_folders(project, detect_privileges(project))
    assert (project.lake_dir / "kept").read_text() == "x"
    closed, shared = ("enclave", "openbao", "postgres", "valkey", "metrics/api", "logs"), ("models", "journals/api")
    modes = {name: stat.S_IMODE((project.state_dir / name).stat().st_mode) for name in (".", "lake", *closed, *shared)}
    expected_modes = {**dict.fromkeys(closed, 0o700), **dict.fromkeys(shared, 0o2750)}
    assert modes == {".": 0o710, "lake": 0o710, **expected_modes}


def test_scratch_folders_of_project_code_are_for_the_worker_and_the_code(project: Project):
    layout.ensure_ownership(project)
    privileges = detect_privileges(project)
    layout.create_folders(project, privileges)
    info = (project.state_dir / "tmp/code").stat()
    assert stat.S_IMODE(info.st_mode) == 0o3770
    assert info.st_uid == os.geteuid()
    if privileges.separation == "user":
        assert info.st_gid == privileges.users.gid_of("code")


def test_folders_that_the_api_reads_exist_before_it_is_confined(project: Project):
    layout.ensure_ownership(project)
    layout.create_folders(project, detect_privileges(project))
    for path in (
        project.lake_dir / "editions",
        project.lake_dir / "views",
        project.models_dir,
    ):
        assert path.is_dir()
        assert path.stat().st_uid == detect_privileges(project).uid_of("worker")
    assert project.ledger_dir.stat().st_uid == detect_privileges(project).uid_of("sequencer")


def test_a_secret_file_is_its_owners_alone_from_its_first_instant(project: Project, monkeypatch: pytest.MonkeyPatch):
    layout.ensure_ownership(project)
    opened_files: list[int] = []
    real = os.open

    def watched(path: Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT:
            opened_files.append(mode)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", watched)
    old = os.umask(0)
    try:
        layout.write_secret_file(project.state_dir / "secret", b"x", detect_privileges(project), None)
    finally:
        os.umask(old)
    assert opened_files == [0o600]
    assert stat.S_IMODE((project.state_dir / "secret").stat().st_mode) == 0o600


def test_a_folder_without_a_project_is_refused(tmp_path: Path, project: Project):
    with pytest.raises(Refused, match="is not a project"):
        layout.ensure_ownership(project.model_copy(update={"root": tmp_path}))
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_place_of_the_state_folder_is_refused(project: Project, tmp_path: Path):
    project.state_dir.symlink_to(tmp_path)
    with pytest.raises(Refused, match="is not a folder"):
        layout.ensure_ownership(project)
    project.state_dir.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make somebody else's folder")
def test_a_state_folder_of_somebody_else_is_refused(project: Project):
    project.state_dir.mkdir()
    os.chown(project.state_dir, 12345, 12345)
    with pytest.raises(Refused, match="belongs to uid 12345"):
        layout.ensure_ownership(project)
    os.chown(project.state_dir, 0, 0)


@pytest.mark.parametrize("trap", ["link", "file", "open"])
def test_something_of_another_user_at_the_runtime_path_is_left_alone_and_another_path_is_used(
    project: Project, tmp_path: Path, trap: str, monkeypatch: pytest.MonkeyPatch
):
    # Without a folder that only root may write to.
    monkeypatch.setattr(layout, "SYSTEM_RUNTIME", tmp_path / "missing" / "run")
    layout.ensure_ownership(project)
    taken = project.runtime_dir
    if trap == "link":
        taken.symlink_to(tmp_path)
    elif trap == "file":
        taken.touch()
    else:
        taken.mkdir()
        taken.chmod(0o777)
        (taken / "api.sock").touch()
    try:
        layout.create_runtime_dir(project, detect_privileges(project))
        chosen = project.runtime_dir
        assert chosen != taken
        assert (chosen.parent, chosen.name.startswith(taken.name + "-")) == (taken.parent, True)
        assert chosen.stat().st_uid == os.geteuid()
        assert not chosen.stat().st_mode & 0o002
        # Another process of the project finds the same sockets.
        assert load_project(project.root).socket_path("api").parent.parent == chosen
        layout.remove_runtime_dir(project)
        assert not chosen.exists()
        assert taken.lstat()
        assert trap != "open" or (taken / "api.sock").exists()
        # The name was public while the folder existed.
        chosen.symlink_to(tmp_path)
        layout.create_runtime_dir(project, detect_privileges(project))
        assert project.runtime_dir not in {chosen, taken}
        chosen.unlink()
    finally:
        layout.remove_runtime_dir(project)
        shutil.rmtree(taken) if trap == "open" else taken.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a folder of its own for sockets")
def test_root_creates_sockets_where_no_other_user_can_create_a_folder(project: Project):
    layout.ensure_ownership(project)
    layout.create_runtime_dir(project, detect_privileges(project))
    for folder in project.runtime_dir.parents:
        assert (folder.stat().st_uid, folder.stat().st_mode & 0o022) == (0, 0), folder
    assert project.runtime_dir.parent.stat().st_mode & 0o777 == 0o755
    layout.remove_runtime_dir(project)


def test_a_runtime_folder_left_by_a_crash_is_created_again(project: Project):
    layout.ensure_ownership(project)
    for record_is_lost in (False, True):
        layout.create_runtime_dir(project, detect_privileges(project))
        left = project.socket_path("api")
        left.touch()
        if record_is_lost:
            project.runtime_record.unlink()
        layout.create_runtime_dir(project, detect_privileges(project))
        assert not left.exists()
        assert project.socket_path("api") == left
    layout.remove_runtime_dir(project)
    assert not project.runtime_dir.exists()


def test_nothing_outside_the_project_changes_and_no_user_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Fake programs that add users come first on PATH and leave a file when they run.
    added = tmp_path / "added"
    (tmp_path / "bin").mkdir()
    for name in ("useradd", "adduser", "usermod", "groupadd", "addgroup"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ntouch {added}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    root = tmp_path / "closed" / "project"
    root.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    (root / "wellspring.toml").write_text(projects.minimal_config())
    project, outside = load_project(root), [root, *root.parents]
    before = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in outside]
    accounts = [Path(name).read_bytes() for name in ("/etc/passwd", "/etc/group")]
    layout.ensure_ownership(project)
    layout.create_folders(project, detect_privileges(project))
    layout.create_runtime_dir(project, detect_privileges(project))
    layout.remove_runtime_dir(project)
    assert [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in outside] == before
    assert [Path(name).read_bytes() for name in ("/etc/passwd", "/etc/group")] == accounts
    assert not added.exists()
