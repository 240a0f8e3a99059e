"""Fixtures: one database and one SFTP vendor for the tests of the enclave, empty for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.enclave import ProjectFixture, reset_database
from tests.builders.postgres import Database, database
from tests.builders.sftp_vendor import Vendor


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    with database() as running:
        yield running


@pytest.fixture
def project(server: Database, tmp_path: Path) -> Iterator[ProjectFixture]:
    with Vendor(tmp_path / "vendor").open() as vendor:
        yield ProjectFixture(tmp_path / "project", server, vendor)
    reset_database(server)
