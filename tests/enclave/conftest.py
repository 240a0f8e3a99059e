"""Fixtures: one database and one SFTP vendor for the tests of the enclave, empty for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.enclave import ProjectFixture, reset_database
from tests.builders.postgres import Database
from tests.builders.sftp_vendor import Vendor


@pytest.fixture
def server(shared_postgres: Database) -> Database:
    return shared_postgres


@pytest.fixture
def project(server: Database, tmp_path: Path) -> Iterator[ProjectFixture]:
    with Vendor(tmp_path / "vendor").open() as vendor:
        yield ProjectFixture(tmp_path / "project", server, vendor)
    reset_database(server)
