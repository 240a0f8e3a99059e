"""Read the commit of a folder's git repository."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

_TIMEOUT_SECONDS = 10
# A repository's own configuration must not run a program: fsmonitor is a hook. No lock file is written.
_GIT = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false")


class GitRevision(NamedTuple):
    """The commit of a folder, '' without git or a repository. dirty: whether its files differ from the commit."""

    commit: str = ""
    dirty: bool = False


def read_revision(folder: Path) -> GitRevision:
    """Read the commit that is checked out in a folder, and whether files in it were changed or added since."""
    commit = _run_git(folder, "rev-parse", "--verify", "HEAD")
    if not commit:
        return GitRevision()
    return GitRevision(commit, dirty=bool(_run_git(folder, "status", "--porcelain", "--", ".")))


def _run_git(folder: Path, *arguments: str) -> str:
    """Return the output of a git command, '' if it fails or git is not installed."""
    try:
        result = subprocess.run(
            [*_GIT, "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
