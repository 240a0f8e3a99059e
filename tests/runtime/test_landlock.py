"""A restricted process reads as before and writes only below one folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.landlock import has_landlock
from wellspring.runtime import landlock

PROBE = """
import json, os, pathlib, sys
from wellspring.runtime.landlock import restrict_writes_to
inside, old, new = map(pathlib.Path, json.loads(sys.stdin.read()))
enforced = restrict_writes_to(inside)
def attempt(act):
    try:
        act()
    except PermissionError:
        return "closed"
    return "open"
(inside / "x").write_text("x")
pathlib.Path(os.devnull).write_text("x")
acts = [lambda: old.write_text("x"), lambda: os.truncate(old, 0), old.unlink, lambda: new.write_text("x"), new.mkdir,
        lambda: (inside / "x").rename(new)]
print(json.dumps([enforced, old.read_text(), *map(attempt, acts)]))
"""


def test_writes_removals_and_moves_outside_the_folder_fail(tmp_path: Path):
    if not has_landlock():
        pytest.skip("this kernel has no Landlock")
    inside, old, new = tmp_path / "inside", tmp_path / "old", tmp_path / "new"
    inside.mkdir()
    old.write_text("as it was")
    requests = json.dumps([str(inside), str(old), str(new)])
    done = subprocess.run([sys.executable, "-c", PROBE], input=requests, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [True, "as it was", *["closed"] * 6]
    assert old.read_text() == "as it was"
    assert (inside / "x").exists()


def test_a_kernel_without_landlock_returns_false(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(landlock, "syscall", lambda *_: -1)
    assert not landlock.restrict_writes_to(tmp_path)
