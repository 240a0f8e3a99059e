"""Person rows in the database: the first one of a token stays, and only those without one are missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.enclave import reset_database
from tests.builders.postgres import Database
from tests.builders.vault_records import NOON, fact, part, stored
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.postgres_people import PersonRows, encode_rows

pytestmark = pytest.mark.live

DROP = "clearinghouse-0"


@pytest.fixture
def store(shared_postgres: Database) -> Iterator[VaultStore]:
    store = shared_postgres.store()
    yield store
    store.close()
    reset_database(shared_postgres)


def people(*rows: tuple[str, bytes, bytes], drop: str = DROP, tenant: str = "") -> PersonRows:
    block = encode_rows([token for token, _, _ in rows], [(key, sealed) for _, key, sealed in rows])
    return PersonRows(drop, "person_id", "person", tenant, 2, (block,))


def test_the_first_row_of_a_token_stays(store: VaultStore):
    store.save_drop(stored(), fact("land/0"))
    store.save_admission(part(), (), fact("admit/0"), people(("t1", b"k1", b"s1"), ("t2", b"k2", b"s2")))
    again = people(("t1", b"k9", b"s9"), ("t3", b"k3", b"s3"), ("t3", b"k4", b"s4"))
    store.save_replay(part(1), [], (), fact("admit/1"), again)
    row = store.people.get_row("t1", "")
    assert row is not None
    assert (row.domain, row.key_version, row.wrapped_key, row.sealed) == ("person", 2, b"k1", b"s1")
    assert store.people.count_rows() == {"person": 3}
    assert store.people.list_missing(["t1", "t3", "t4"], "") == {"t4"}
    assert store.people.get_row("t4", "") is None


def test_tenants_have_rows_of_their_own(store: VaultStore):
    store.save_drop(stored(), fact("land/0"))
    store.save_admission(part(), (), fact("admit/0"), people(("t1", b"k1", b"s1")))
    assert store.people.list_missing(["t1"], "north") == {"t1"}


def test_an_admission_and_its_persons_are_one_transaction(store: VaultStore):
    store.save_drop(stored(), fact("land/0"))

    def interrupted() -> Iterator[bytes]:
        yield encode_rows(["t1"], [(b"k1", b"s1")])
        raise KeyError("the spool")

    with pytest.raises(KeyError):
        store.save_admission(part(), (), fact("admit/0"), people()._replace(blocks=interrupted()))
    assert store.list_parts(DROP) == ()
    assert store.people.count_rows() == {}


def test_drops_are_unread_until_they_were_read_by_the_column_in_force(store: VaultStore):
    store.save_drop(stored(), fact("land/0"))
    columns = {"medical_claim": "person_id"}
    assert store.people.list_unread_drops(columns) == (), "it was not admitted yet"
    store.save_admission(part(), (), fact("admit/0"))
    assert store.people.list_unread_drops(columns) == (DROP,)
    assert store.people.list_unread_drops({"other": "person_id"}) == ()
    store.people.save_backfill(DROP, "person_id", people(("t1", b"k1", b"s1")), fact("backfill/0"))
    assert store.people.list_unread_drops(columns) == ()
    assert store.people.list_unread_drops({"medical_claim": "member_id"}) == (DROP,)
    store.decisions.withdraw_drop(DROP, NOON, fact("withdraw/0"))
    assert store.people.list_unread_drops({"medical_claim": "member_id"}) == ()
    assert store.people.count_rows() == {}


def test_a_key_is_stored_once(store: VaultStore):
    store.people.add_key(1, "wrapped")
    store.people.add_key(1, "another")
    assert store.people.list_keys() == {1: "wrapped"}
