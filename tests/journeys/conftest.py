"""A running copy of the example project, used through its command line; one per test file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.journeys import ProjectFixture, running_project


@pytest.fixture(scope="module")
def project() -> Iterator[ProjectFixture]:
    with running_project() as project:
        yield project
