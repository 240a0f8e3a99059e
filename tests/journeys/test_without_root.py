"""Without root all services share one user: what still holds, what does not, and that `status` says both."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.opened_paths import open_paths
from tests.builders.order_drops import CONTRACT, write_order_drop
from tests.builders.projects import minimal_config

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
]

UID, OTHER_UID = 65432, 65433
"""Two users of the machine without a passwd entry, as in a container that runs under any number."""


class UserProject:
    """A project that a user without root has started.

    The only capability of the user lets it read the folder of the interpreter, which is closed on some machines.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one command line as the user."""
        user = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        user += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        command = [sys.executable, "-P", "-m", "wellspring.cli", *words, "--project", str(self.root)]
        return subprocess.run(
            [*user, *command], env={"HOME": str(self.root), "PATH": os.defpath}, cwd=self.root,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def try_paths(self, uid: int) -> dict[str, tuple[bool, bool]]:
        """Let a user without capabilities try everything that the platform has written."""
        tops = [self.root / name for name in (".wellspring", "witness", "vendor")]
        paths = [path.relative_to(self.root) for top in tops for path in (top, *top.rglob("*"))]
        sockets = Path((self.root / ".wellspring/runtime-dir").read_text().strip())
        return open_paths(uid, uid, [], self.root, [*paths, *sockets.iterdir()])


@pytest.fixture(scope="module")
def started() -> Iterator[UserProject]:
    root = Path(tempfile.mkdtemp(prefix="ws-user-"))
    (root / "contracts").mkdir()
    (root / "contracts/order_line.odcs.yaml").write_text(CONTRACT)
    (root / "wellspring.toml").write_text(minimal_config())
    for path in (root, *root.rglob("*")):
        os.chown(path, UID, UID)
    root.chmod(0o755)
    project = UserProject(root)
    up = project.run("up")
    assert up.returncode == 0, up.stdout + up.stderr
    try:
        yield project
    finally:
        project.run("down")
        shutil.rmtree(root)


def test_status_says_what_holds_and_what_does_not(started: UserProject):
    status = started.run("status").stdout
    assert f"separated by process and keys, not by user: started by uid {UID}, not by root" in status
    assert "holds: OpenBao gives each service its own keys only; other users of the machine open no file" in status
    assert "does not hold: any program of this user can read and change the files of every service" in status
    servers = json.loads(started.run("status", "--json").stdout)["servers"]
    assert {server["uid"] for server in servers} == {UID}


def test_a_drop_is_ingested_and_its_entries_verify(started: UserProject):
    outbox = started.root / "vendor/outbox"
    write_order_drop(outbox / "order_line_1.csv", 50)
    os.chown(outbox / "order_line_1.csv", UID, UID)
    ingested = started.run("ingest", "--json")
    assert ingested.returncode == 0, ingested.stderr
    assert [file["status"] for file in json.loads(ingested.stdout)["files"]] == ["published"]
    assert started.run("ledger", "verify").returncode == 0


def test_another_user_of_the_machine_opens_no_file_and_no_socket(started: UserProject):
    answers = started.try_paths(OTHER_UID)
    assert len(answers) > 100
    assert {path for path, (reads, writes) in answers.items() if reads or writes} == set()


def test_a_program_of_the_same_user_opens_the_files_of_every_service(started: UserProject):
    answers = started.try_paths(UID)
    assert answers[".wellspring/seal.key"] == (True, True)
    assert answers["witness/key"] == (True, True)
