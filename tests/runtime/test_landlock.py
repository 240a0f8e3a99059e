"""A restricted process opens only the files that it was given."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.landlock import has_landlock
from wellspring.runtime import landlock

PROBE = """
import json, os, pathlib, sys
from wellspring.runtime.landlock import restrict_files
inside, old, new = map(pathlib.Path, json.loads(sys.stdin.read()))
reason = restrict_files([old], [inside])
def attempt(act):
    try:
        act()
    except PermissionError:
        return "closed"
    return "open"
(inside / "x").write_text("x")
pathlib.Path(os.devnull).write_text("x")
acts = [lambda: old.write_text("x"), lambda: os.truncate(old, 0), old.unlink, lambda: new.write_text("x"), new.mkdir,
        lambda: (inside / "x").rename(new), (old.parent / "closed").read_text]
print(json.dumps([reason, old.read_text(), *map(attempt, acts)]))
"""


def test_reads_writes_removals_and_moves_outside_the_given_paths_fail(tmp_path: Path):
    if not has_landlock():
        pytest.skip("this kernel has no Landlock")
    inside, old, new = tmp_path / "inside", tmp_path / "old", tmp_path / "new"
    inside.mkdir()
    old.write_text("as it was")
    (tmp_path / "closed").write_text("closed")
    requests = json.dumps([str(inside), str(old), str(new)])
    done = subprocess.run([sys.executable, "-c", PROBE], input=requests, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["", "as it was", *["closed"] * 7]
    assert old.read_text() == "as it was"
    assert (inside / "x").exists()


ISOLATED_PROBE = """
import json, os, pathlib, socket, sys
from wellspring.runtime.landlock import restrict_files
inside, parent = pathlib.Path(sys.argv[1]), os.getppid()
reason = restrict_files([], [inside], isolated=True)
def attempt(act):
    try:
        act()
    except OSError as exc:
        return type(exc).__name__
    return "open"
acts = [lambda: (inside / "x").write_text("x"), lambda: (inside / "x").rename(inside / "y"),
        lambda: pathlib.Path("/dev/null").write_text("x"),
        lambda: (inside / "l").symlink_to("x"), lambda: os.mkfifo(inside / "p"),
        lambda: socket.socket(socket.AF_UNIX).bind(str(inside / "s")),
        lambda: socket.create_connection(("127.0.0.1", 9)), lambda: os.kill(parent, 0),
        lambda: open("/dev/shm/wellspring-test", "w"), lambda: open("/dev/ptmx", "r+b")]
print(json.dumps([reason, *map(attempt, acts)]))
"""


def test_an_isolated_process_makes_no_links_and_reaches_no_other_process(tmp_path: Path):
    if landlock.read_abi_version() < 6:
        pytest.skip("this kernel's Landlock has no scopes")
    done = subprocess.run(
        [sys.executable, "-c", ISOLATED_PROBE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == ["", *["open"] * 3, *["PermissionError"] * 7]


def test_a_kernel_without_landlock_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(landlock, "syscall", lambda *_: -1)
    assert landlock.restrict_files([], [tmp_path]).startswith("this kernel has no Landlock")
