"""The key of a process: another one each time, certified for one journal; and the file with the services' keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.journal_keys import SERVICE_KEYS, journal_key, write_service_keys
from wellspring.errors import CorruptedError, NotFound, Unavailable
from wellspring.trust.ledger.journal_key import (
    SERVICE_KEYS_FILE,
    create_journal_key,
    read_service_keys,
    service_key_name,
)


def test_each_process_has_another_key():
    keys = {journal_key("worker").sign_line(b"text").key for _ in range(3)}
    assert len(keys) == 3


def test_without_its_service_there_is_no_key():
    def certify(text: bytes) -> bytes:
        raise Unavailable("OpenBao did not respond", fix="")

    with pytest.raises(Unavailable):
        create_journal_key("worker", certify)


def test_the_journals_of_jobs_are_certified_by_the_worker():
    assert [service_key_name(name) for name in ("worker", "worker-3", "api")] == [
        "journal-worker", "journal-worker", "journal-api",
    ]  # fmt: skip


def test_the_keys_of_the_services_are_read_from_their_file(tmp_path: Path):
    with pytest.raises(NotFound, match="older version"):
        read_service_keys(tmp_path)
    write_service_keys(tmp_path)
    assert read_service_keys(tmp_path) == SERVICE_KEYS
    path = tmp_path / SERVICE_KEYS_FILE
    path.write_text(path.read_text()[:-6])
    with pytest.raises(CorruptedError):
        read_service_keys(tmp_path)
