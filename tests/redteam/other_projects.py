"""A project, a program or a folder that another user laid where root works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.redteam.catalogue import attempt
from tests.redteam.laid_links import SECRET
from tests.redteam.target import OTHER_USER, Target, run_as

_PROJECT = """\
[project]
name = "laid"
tenant = "laid"

[sources.inbox]
kind = "sftp"
address = "embedded"
folder = "outbox"
settle_seconds = 0
"""
_PROGRAM = """\
#!/bin/sh
cat {path}
exit 1
"""


def _run_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-P", "-m", "wellspring.cli", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith("src"))}
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)


@attempt(
    "small", "other-user", refused="exit 77", allowed="exit 69",
)  # fmt: skip
def lay_a_project_above_root(target: Target, is_twin: bool) -> str:
    """Another user lays a wellspring.toml above the folder in which root types a command; one of root is used."""
    folder = target.create_folder(OTHER_USER)
    text = _PROJECT

    def lay() -> str:
        (folder / "wellspring.toml").write_text(text, encoding="utf-8")
        return "laid"

    if is_twin:
        os.chown(folder, 0, 0)
        lay()
    else:
        assert run_as(OTHER_USER, lay) == "laid"
    below = folder / "below"
    below.mkdir()
    return f"exit {_run_in(below, 'status').returncode}"


@attempt(
    "laid-links", "other-user", refused="not read", allowed="read",
)  # fmt: skip
def read_a_file_of_root_by_a_program(target: Target, is_twin: bool) -> str:
    """A project names programs beside which `lib` is a link to a folder of root; a file in a real `lib` is read."""
    folder, secrets = target.create_folder(), target.create_folder()
    secret = secrets / "victim"
    (folder / "programs" / "bin").mkdir(parents=True)
    library = folder / "programs" / "lib"
    if is_twin:
        library.mkdir()
        secret = library / "victim"
    else:
        library.symlink_to(secrets, target_is_directory=True)
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    for name in ("initdb", "postgres"):
        program = folder / "programs" / "bin" / name
        program.write_text(_PROGRAM.format(path=secret), encoding="utf-8")
        program.chmod(0o755)
    settings = f'{_PROJECT}\n[servers]\npostgres = "{folder}/programs/bin"\n'
    project = folder / "laid"
    project.mkdir(mode=0o755)
    (project / "wellspring.toml").write_text(settings, encoding="utf-8")
    started = _run_in(project, "up")
    _run_in(project, "clean", "--yes")
    return "read" if SECRET.decode().strip() in started.stderr else "not read"


@attempt(
    "laid-links", "other-user", refused="exit 77, nothing", allowed="exit 0, a pack", needs="servers",
)  # fmt: skip
def receive_a_pack_through_a_link(target: Target, is_twin: bool) -> str:
    """Another user lays a link where root writes a pack, to a folder of their own; in a new folder it is written."""
    shared = target.create_folder(OTHER_USER)
    own = shared / "own"

    def lay() -> str:
        own.mkdir()
        (shared / "pack").symlink_to(own, target_is_directory=True)
        return "laid"

    if not is_twin:
        assert run_as(OTHER_USER, lay) == "laid"
    code = target.run("prove", "dataset:orders", "--out", str(shared / "pack")).code
    return f"exit {code}, {'a pack' if (shared / 'pack' / 'manifest.json').exists() else 'nothing'}"
