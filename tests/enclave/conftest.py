"""One database and one vendor for the enclave's tests; each test gets them empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.enclave import ProjectFixture, forget
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
    forget(server)
