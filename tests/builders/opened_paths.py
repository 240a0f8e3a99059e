"""Let a user of the machine try to open paths."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

# Imported first: afterwards this user may not enter the folders of the interpreter.
OPEN_PATHS = """
import json, os, sys
uid, gid, groups, paths = json.load(sys.stdin)
os.setgroups(groups); os.setgid(gid); os.setuid(uid)
def may_open(path, flags):
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW))
    except OSError:
        return False
    return True
def may_write(path):
    if os.path.isdir(path):
        return os.access(path, os.W_OK | os.X_OK)
    return may_open(path, os.O_WRONLY)
print(json.dumps({path: [may_open(path, os.O_RDONLY), may_write(path)] for path in paths}))
"""


def open_paths(
    uid: int, gid: int, groups: Sequence[int], folder: Path, paths: Iterable[Path]
) -> dict[str, tuple[bool, bool]]:
    """Try to open each path for reading and for writing, as a user without capabilities. paths: relative to folder."""
    result = subprocess.run(
        [sys.executable, "-S", "-c", OPEN_PATHS],
        input=json.dumps([uid, gid, list(groups), [str(path) for path in paths]]),
        cwd=folder, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return {path: (bool(reads), bool(writes)) for path, (reads, writes) in json.loads(result.stdout).items()}
