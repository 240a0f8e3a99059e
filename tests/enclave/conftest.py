"""One database and one vendor for the enclave's tests; each test gets them empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.sources.vendor import Vendor
from tests.enclave.house import House, forget
from tests.trust.vault.database import Database, database


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    with database() as running:
        yield running


@pytest.fixture
def house(server: Database, tmp_path: Path) -> Iterator[House]:
    with Vendor(tmp_path / "vendor").open() as vendor:
        yield House(tmp_path / "project", server, vendor)
    forget(server)
