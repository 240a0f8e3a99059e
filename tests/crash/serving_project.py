"""A serving project: ingests history, builds tables, trains a model, and releases it by two users at a terminal."""

from __future__ import annotations

import http.client
import json
import random
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from examples.health_plan import drops
from tests.crash.project import EXAMPLE
from tests.crash.user_commands import UserCommands
from wellspring.cli.worker_client import run_worker
from wellspring.client import Client
from wellspring.project import Project, load_project

MODEL = "denials"
# The smallest history with which the model passes its gate.
MONTHS, MEMBERS, LINES = 18, 4_000, 34_000


class APIResponse(NamedTuple):
    """The status and body of an API response."""

    status: int
    body: bytes


class ServingProject(UserCommands):
    """A copy of an example."""

    def __init__(self, root: Path, *, example: Path = EXAMPLE) -> None:
        super().__init__(root)
        shutil.copytree(example, root, ignore=shutil.ignore_patterns("__pycache__", ".wellspring"))
        root.chmod(0o755)
        self.project: Project = load_project(root)

    # --- setup -------------------------------------------------------------------------------------------------

    def train_candidate(self) -> str:
        """Ingest the history, transform and train; return the id of the candidate, which passed its gate."""
        self.must("up")
        drops.history(self.project.vendor_dir / "outbox", months=MONTHS, members=MEMBERS, lines=LINES)
        self.must("ingest")
        self.must("transform")
        return str(self.must("train", MODEL)["id"])

    def release_candidate(self, candidate: str, *, author: str = "ines", approver: str = "omar") -> str:
        """Propose and approve a candidate as two users, and return the id of the release."""
        proposed = self.act(author, "release", "propose", candidate)
        assert proposed.exit_code == 0, proposed.screen
        release = str(json.loads(proposed.out)["release"]["id"])
        approved = self.act(approver, "release", "approve", release)
        assert approved.exit_code == 0, approved.screen
        return release

    # --- predictions ------------------------------------------------------------------------------------------------

    def sample_keys(
        self, count: int, *, seed: int = 1, latest: int = 3_000, model: str = MODEL
    ) -> list[dict[str, str]]:
        """Draw keys at random from the latest ones of the built edition."""
        matches: list[dict[str, str]] = run_worker(self.project, "latest-keys", model, params={"count": latest})
        draw = random.Random(seed)
        return draw.sample(matches, count) if count <= len(matches) else draw.choices(matches, k=count)

    def client(self) -> Client:
        # Other test processes share the machine.
        return Client(self.project, timeout=60.0)

    def http(self, method: str, address: str, body: Any = None) -> APIResponse:
        """Send an HTTP request to the API and return its response."""
        connection = http.client.HTTPConnection("api", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self.project.socket_path("api")))
        try:
            headers: Mapping[str, str] = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, address, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return APIResponse(response.status, response.read())
        finally:
            connection.close()

    # --- observable state -----------------------------------------------------------------------------------------

    def journal(self, service: str) -> list[dict[str, Any]]:
        """Read the lines of a service's journal, without the last one, which may be torn."""
        lines: list[dict[str, Any]] = []
        for path in sorted((self.project.journals_dir / service).glob("*.log")):
            lines += [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        return lines

    def restore_server(self, name: str) -> None:
        """Start a killed server again: `restart NAME`, or `up` for the supervisor."""
        self.must("up") if name == "supervisor" else self.must("restart", name)
