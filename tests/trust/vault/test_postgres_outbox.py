"""Only rows with the MAC of the enclave are entries; no other row is parsed, and none delays the rows behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.postgres import OUTBOX_KEY, Database
from tests.builders.vault_records import fact
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.postgres_outbox import MAX_RECORD_BYTES, ForgedRow, compute_mac, encode_entry, open_row

ENTRY = fact("land/0")
RECORD = encode_entry(ENTRY)
MAC = compute_mac(OUTBOX_KEY, RECORD)
FAULTS = {
    "mac_missing": ("land/0", RECORD, b""),
    "mac_wrong": ("land/0", RECORD.replace(b'"size":4', b'"size":5'), MAC),
    "other_key": ("land/1", RECORD, MAC),
    "too_large": ("land/0", b" " * (MAX_RECORD_BYTES + 1), MAC),
}


def row(key: str, record: bytes | None, mac: bytes) -> dict[str, object]:
    return {"place": "(0,1)", "position": 7, "key": key, "record": record, "mac": mac}


def test_entry_with_its_mac_is_read_unchanged() -> None:
    assert open_row(OUTBOX_KEY, row("land/0", RECORD, MAC)) == ENTRY


@pytest.mark.parametrize("reason", FAULTS)
def test_row_that_the_enclave_did_not_write_is_forged(reason: str) -> None:
    key, record, mac = FAULTS[reason]
    forged = open_row(OUTBOX_KEY, row(key, record if len(record) <= MAX_RECORD_BYTES else None, mac))
    assert isinstance(forged, ForgedRow)
    assert (forged.position, forged.reason) == (7, reason)
    assert "land" not in forged.name


def test_mac_of_another_key_is_wrong() -> None:
    forged = open_row(OUTBOX_KEY, row("land/0", RECORD, compute_mac(bytes(32), RECORD)))
    assert isinstance(forged, ForgedRow)


@pytest.mark.parametrize("record", [b"not JSON", b"[" * 100_000, b"\xff"])
def test_record_without_valid_mac_is_not_parsed(record: bytes) -> None:
    forged = open_row(OUTBOX_KEY, row("land/0", record, bytes(32)))
    assert isinstance(forged, ForgedRow)
    assert forged.reason == "mac_wrong"


@pytest.fixture
def store(shared_postgres: Database) -> Iterator[VaultStore]:
    store = shared_postgres.store()
    yield store
    with store._transaction() as run:
        run.execute("DROP SCHEMA public CASCADE")
        run.execute("CREATE SCHEMA public")
    store.close()


def insert_row(store: VaultStore, key: str, record: bytes, mac: bytes) -> None:
    """Insert a row as the owner of the database can."""
    with store._transaction() as run:
        run.execute("INSERT INTO outbox (key, record, mac) VALUES (%s, %s, %s)", (key, record, mac))


@pytest.mark.live
def test_forged_rows_are_set_aside_with_the_entry_that_names_them_and_free_their_keys(store: VaultStore) -> None:
    for number, (_, record, mac) in enumerate(FAULTS.values()):
        insert_row(store, f"land/{number}", record, mac if number else b"")
    store.record_finding(fact("finding/behind"))
    pending = store.outbox.read_pending_rows()
    assert pending.entries == (fact("finding/behind"),)
    assert len(pending.forged) == len(FAULTS)
    store.outbox.set_aside(pending.forged, fact("finding/forged"))
    assert store.outbox.read_pending_rows() == ((fact("finding/behind"), fact("finding/forged")), ())
    assert store.record_finding(fact("land/0"))
    with store._transaction() as run:
        counted = run.execute("SELECT count(*) AS rows FROM forged_outbox").fetchone()
    assert counted is not None
    assert counted["rows"] == len(FAULTS)


@pytest.mark.live
def test_row_at_the_position_of_a_forged_one_stays(store: VaultStore) -> None:
    store.record_finding(fact("finding/real"))
    with store._transaction() as run:
        run.execute(
            "INSERT INTO outbox (position, key, record, mac) OVERRIDING SYSTEM VALUE"
            " SELECT position, 'forged', '', '' FROM outbox"
        )
    store.outbox.set_aside(store.outbox.read_pending_rows().forged, fact("finding/forged"))
    assert [entry.key for entry in store.outbox.read_pending_rows().entries] == ["finding/real", "finding/forged"]


@pytest.mark.live
def test_rows_are_read_in_batches(store: VaultStore) -> None:
    for number in range(101):
        store.record_finding(fact(f"finding/{number}"))
    assert len(store.outbox.read_pending_rows().entries) == 100
    assert store.outbox.has_pending_rows()
    for entry in store.outbox.read_pending_rows().entries:
        store.outbox.mark_published(entry.key)
    assert [entry.key for entry in store.outbox.read_pending_rows().entries] == ["finding/100"]
