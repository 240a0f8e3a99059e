import subprocess
from pathlib import Path

import pytest

from wellspring.runtime import git
from wellspring.runtime.git import GitRevision, read_revision


def run_git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    result = subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    run_git(tmp_path, "init", "-q")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.py").write_text("a = 1\n")
    run_git(tmp_path, "add", ".")
    run_git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_commit_is_read_and_a_changed_or_new_file_is_dirty(repository: Path):
    project = repository / "project"
    commit = run_git(repository, "rev-parse", "HEAD")
    assert read_revision(project) == GitRevision(commit, dirty=False)
    # Files of the repository beside the project do not count.
    (repository / "other.txt").write_text("x")
    assert read_revision(project) == GitRevision(commit, dirty=False)
    (project / "b.py").write_text("b = 1\n")
    assert read_revision(project) == GitRevision(commit, dirty=True)


def test_without_a_repository_a_commit_or_git_the_revision_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert read_revision(tmp_path) == GitRevision()
    run_git(tmp_path, "init", "-q")
    assert read_revision(tmp_path) == GitRevision()
    monkeypatch.setattr(git, "_GIT", ("a-program-that-is-missing",))
    assert read_revision(tmp_path) == GitRevision("", dirty=False)


def test_a_hook_of_the_repository_does_not_run(repository: Path):
    hook = repository / "hook.sh"
    hook.write_text(f"#!/bin/sh\ntouch {repository}/ran\n")
    hook.chmod(0o755)
    run_git(repository, "config", "core.fsmonitor", str(hook))
    assert read_revision(repository / "project").commit
    assert not (repository / "ran").exists()
