"""Hypothesis profiles that all tests share, and the servers that tests share which do not kill them.

Each test process starts such a server once, when its first test needs it. A test that kills a server, or leaves it
stopped, starts one of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.builders.postgres import Database
    from wellspring.project import Project

# In CI a failure must be found again by the next run; on a developer's machine new examples are welcome.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

LONGEST = (
    "tests/phi/test_demo.py",
    "tests/journeys/test_large_drops.py",
    "tests/journeys/test_predictions.py",
    "tests/journeys/test_parcel_delivery.py",
    "tests/crash/test_model_lifecycle.py",
    "tests/supervisor/test_client.py",
    "tests/supervisor/test_process_killed.py",
    "tests/journeys/test_newcomer.py",
    "tests/journeys/test_many_drops.py",
    "tests/supervisor/test_process.py",
    "tests/crash/",
    "tests/journeys/",
    "tests/examples/test_denials.py",
    "tests/supervisor/",
)
"""Files and folders whose tests take longest, longest first. All others run after them, so that no test process is
busy alone at the end.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the longest files to the front; the order is otherwise kept."""
    items.sort(key=_rank_file)


def _rank_file(item: pytest.Item) -> int:
    return next((rank for rank, start in enumerate(LONGEST) if item.nodeid.startswith(start)), len(LONGEST))


@pytest.fixture(scope="session")
def shared_project() -> Iterator[Project]:
    """A project with all its servers. A test that stops one of them starts it again."""
    from tests.builders.projects import running_project

    with running_project() as project:
        yield project


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[Database]:
    """A PostgreSQL server; each test leaves its database empty."""
    from tests.builders.postgres import database

    with database() as running:
        yield running
