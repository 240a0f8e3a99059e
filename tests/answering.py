"""The API of a small house, on a real socket with a real journal, in a thread of the test."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.models.released import NOW, Released
from tests.steps import FixedClock
from wellspring import api, project
from wellspring.models.desk import Desk, Ports
from wellspring.observe.lineage import Lineage
from wellspring.observe.metrics import Metrics
from wellspring.observe.step import Steps
from wellspring.project import Project
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


class Answering:
    """A house whose API answers. folder: everything that it writes lies below it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.house = Released(folder / ".wellspring-parts")
        self.release = self.house.released()
        (folder / project.FILE).write_text(TOML.format(uid=os.getuid()))
        (folder / ".wellspring").mkdir()
        self.project: Project = project.load(folder, environ={})
        self.clock = FixedClock(NOW)
        self.journal = journal.Journal(self.project.journals, "api", tenant="acme", clock=self.clock)
        self.step = Steps(
            service="api",
            actor="service:api",
            tenant="acme",
            journal=self.journal,
            metrics=Metrics(folder / "metrics", "api"),
            lineage=Lineage(folder / "api.jsonl", "tiny"),
            clock=self.clock,
            crash_at=None,
        )
        self.desk: Desk
        self.ports: Ports
        self.desk, self.ports = self.house.desk(step=self.step, clock=self.clock)

    def lines(self) -> list[dict[str, Any]]:
        """Read what the API has journalled, from the disk."""
        return [json.loads(line) for _, line in journal.read(self.project.journals, "api")]

    def told(self, action: str) -> list[dict[str, Any]]:
        return [each for each in self.lines() if each["action"] == action]

    @contextmanager
    def up(self) -> Iterator[Answering]:
        """Serve until the block ends."""
        runtime = self.project.runtime
        runtime.mkdir(mode=0o700, exist_ok=True)
        servers: list[Any] = []
        ready = threading.Event()

        def made(app: Any) -> Any:
            servers.append(api.uvicorn_server(app))
            ready.set()
            return servers[0]

        thread = threading.Thread(
            target=lambda: asyncio.run(api.serve(self.project, self.desk, self.ports, made)), daemon=True
        )
        thread.start()
        try:
            assert ready.wait(20)
            assert _appears(self.project.socket("api"))
            yield self
        finally:
            for server in servers:
                server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
            self.step.close()
            self.journal.close()
            shutil.rmtree(runtime, ignore_errors=True)


def _appears(path: Path) -> bool:
    pause = threading.Event()
    for _ in range(500):
        if path.exists():
            return True
        pause.wait(0.01)
    return False
