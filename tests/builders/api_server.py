"""Run the API of a small project on a real socket with a real journal, in a thread of the test."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.builders import sockets
from tests.builders.journal_keys import journal_key
from tests.builders.recording_step import FixedClock
from tests.builders.released_model import NOW, Released
from wellspring import project
from wellspring.api import server as server_module
from wellspring.observe.lineage import LineageWriter
from wellspring.observe.metrics import StepMetrics
from wellspring.observe.recorder import StepRecorder
from wellspring.project import Project
from wellspring.serving.service import PredictionService, ServiceDependencies
from wellspring.trust.ledger import journal

TOML = """
[project]
name = "tiny"
tenant = "acme"

[sources.clearinghouse]
kind = "sftp"

[models]

[callers.portal]
uid = {uid}
"""


class RunningApi:
    """A project with a running API. folder: contains every file that it writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.released = Released(folder / ".wellspring-parts")
        self.release = self.released.released()
        (folder / project.PROJECT_FILE).write_text(TOML.format(uid=os.getuid()))
        (folder / ".wellspring").mkdir()
        self.project: Project = project.load_project(folder, environ={})
        self.clock = FixedClock(NOW)
        self.journal = journal.Journal(self.project.journals_dir, journal_key("api"), tenant="acme", clock=self.clock)
        self.step = StepRecorder(
            service="api",
            actor="service:api",
            tenant="acme",
            journal=self.journal,
            metrics=StepMetrics(folder / "metrics", "api"),
            lineage=LineageWriter(folder / "api.jsonl", "tiny"),
            clock=self.clock,
            crash_at=None,
        )
        self.service: PredictionService
        self.ports: ServiceDependencies
        self.service, self.ports = self.released.service(step=self.step, clock=self.clock)

    def lines(self) -> list[dict[str, Any]]:
        """Read the API's journal from disk."""
        return [json.loads(line) for _, line in journal.read_lines(self.project.journals_dir, "api")]

    def entries(self, action: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["action"] == action]

    @contextmanager
    def up(self) -> Iterator[RunningApi]:
        """Serve until the block ends."""
        sockets.create_socket_folders(self.project)
        servers: list[Any] = []
        ready = threading.Event()

        def create_server(app: Any) -> Any:
            servers.append(server_module.build_uvicorn_server(app))
            ready.set()
            return servers[0]

        thread = threading.Thread(
            target=lambda: asyncio.run(server_module.serve_api(self.project, self.service, self.ports, create_server)),
            daemon=True,
        )
        thread.start()
        try:
            assert ready.wait(60)
            assert _appears(self.project.socket_path("api"))
            yield self
        finally:
            for server in servers:
                server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()
            self.step.close()
            self.journal.close()
            sockets.remove_socket_folders(self.project)


def _appears(path: Path) -> bool:
    pause = threading.Event()
    for _ in range(6000):
        if path.exists():
            return True
        pause.wait(0.01)
    return False
