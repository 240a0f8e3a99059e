"""Contracts and stories that need no files."""

from __future__ import annotations

import pytest

from tests.builders.ingest_world import ALONE, CLAIMS, PEOPLE
from wellspring.workflows import ingest, publish


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two contracts, and stories that need no tree."""
    by_digest = {item.digest: item for item in (ALONE, CLAIMS, PEOPLE)}
    monkeypatch.setattr(ingest.contracts, "load_all", lambda folder, **_: (ALONE, CLAIMS, PEOPLE))
    monkeypatch.setattr(ingest.contracts, "archive_contracts", lambda folder, stored: None)
    monkeypatch.setattr(ingest.contracts, "load_archived", lambda stored, digest, **_: by_digest[digest])
    for module in (ingest, publish):
        monkeypatch.setattr(module, "seal_edition", lambda *_: None)
