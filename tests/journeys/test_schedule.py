"""A file that arrives is published while nobody runs a command: the plan starts the job, and the worker runs it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.builders.journeys import ProjectFixture, running_project
from tests.builders.order_drops import CONTRACT, write_order_drop
from wellspring.worker.scheduler import POLL_FILES

pytestmark = [pytest.mark.live, pytest.mark.slow]

PLAN = """
[jobs.arrivals]
kind = "ingest"
subject = "clearinghouse"
on_new_file = true
"""


def _list_succeeded(project: ProjectFixture) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = project.run("job", "list", "--all", "--json").document
    return [job for job in jobs if job["state"] == "succeeded"]


def test_a_new_file_is_published_without_a_command():
    with running_project(contracts=[CONTRACT]) as project:
        path = project.root / "wellspring.toml"
        path.write_text(path.read_text() + PLAN)
        assert [job["name"] for job in project.run("plan", "--json").document] == ["arrivals"]
        write_order_drop(project.outbox / "order_line_1.csv", 20)
        pause, limit = threading.Event(), time.monotonic() + POLL_FILES.total_seconds() + 60
        while not (jobs := _list_succeeded(project)):
            assert time.monotonic() < limit
            pause.wait(1.0)
        (job,) = jobs
        assert (job["kind"], job["principal"]) == ("ingest", "service:scheduler")
        assert job["run"].startswith("arrivals@new-")
        assert len(project.accounts()) == 1
        again = project.run("run", "arrivals", "--json").document
        assert (again["state"], again["principal"]) == ("succeeded", "service:owner")
