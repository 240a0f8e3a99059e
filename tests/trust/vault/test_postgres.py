"""The enclave's memory, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest

from tests.builders.postgres import Database
from tests.builders.vault_records import NOON, fact, part, rows, stored
from wellspring.errors import CorruptedError, NotFound, Unavailable
from wellspring.records.contracts import ContractColumn, DataContract
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import UnfinishedDrop, decode_row_numbers, encode_row_numbers

pytestmark = pytest.mark.live


@pytest.fixture
def server(shared_postgres: Database) -> Database:
    return shared_postgres


@pytest.fixture
def store(server: Database) -> Iterator[VaultStore]:
    opened_files = server.store()
    yield opened_files
    with opened_files._transaction() as run:
        run.execute("DROP SCHEMA public CASCADE")
        run.execute("CREATE SCHEMA public")
    opened_files.close()


def test_the_first_call_after_a_restart_of_the_database_succeeds(server: Database, store: VaultStore) -> None:
    import psycopg

    store.save_drop(stored(), fact("land/0"))
    with psycopg.connect(host=str(server.host), user="postgres", dbname="postgres", autocommit=True) as superuser:
        # It waits until the connection has ended, at most 10 s.
        superuser.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'enclave'")
    assert store.get_drop("clearinghouse-0") == stored()


def test_a_stored_drop_is_read_unchanged(store: VaultStore) -> None:
    store.save_drop(stored(), fact("land/0"))
    assert store.get_drop("clearinghouse-0") == stored()
    assert store.find_drop_by_name("clearinghouse", "a.csv") == stored()
    assert store.find_drop_by_name("clearinghouse", "b.csv") is None
    assert store.list_drops() == (stored(),)
    assert store.list_decryptable_ids() == {"clearinghouse-0"}
    until = stored().retention_until
    assert store.list_expired(until) == (stored(),)
    assert store.list_expired(until - timedelta(microseconds=1)) == ()
    with pytest.raises(NotFound):
        store.get_drop("none")


def test_drop_and_outbox_entry_are_saved_in_one_transaction(store: VaultStore) -> None:
    store.save_drop(stored(), fact("land/0"))
    assert store.outbox.read_pending_rows().entries == (fact("land/0"),)
    with pytest.raises(CorruptedError):
        store.save_drop(stored("b.csv", "clearinghouse-1"), fact("land/0"))
    assert store.find_drop_by_name("clearinghouse", "b.csv") is None, "the drop must not stand without its fact"
    store.outbox.mark_published("land/0")
    assert store.outbox.read_pending_rows().entries == ()


def test_a_name_is_taken_once(store: VaultStore) -> None:
    store.save_drop(stored(), fact("land/0"))
    with pytest.raises(CorruptedError) as broken:
        store.save_drop(stored(identifier="clearinghouse-1"), fact("land/1"))
    assert "a.csv" not in broken.value.what


def test_quarantined_rows_are_replayed_and_settled(store: VaultStore) -> None:
    store.save_drop(stored(), fact("land/0"))
    assert store.list_unfinished_drops("clearinghouse") == {"a.csv": UnfinishedDrop(stored(), False, False)}
    store.save_admission(part(rows=3), rows(7, 2, 5), fact("admit/0"))
    assert store.list_unfinished_drops("clearinghouse") == {"a.csv": UnfinishedDrop(stored(), True, False)}
    assert store.list_parts("clearinghouse-0") == (part(rows=3),)
    assert store.list_row_numbers("clearinghouse-0") == [2, 5, 7]
    assert store.count_waiting_rows("clearinghouse-0") == 3
    assert store.list_quarantined("clearinghouse-0", limit=2) == tuple(rows(2, 5))
    now = rows(7)[0]._replace(sealed=b"new", reasons=())
    store.save_replay(part(1), [5, 2], [now], fact("admit/1"))
    assert store.list_row_numbers("clearinghouse-0") == [7]
    assert store.list_row_numbers("clearinghouse-0", replay_number=1) == [2, 5]
    store.settle_part("clearinghouse-0", 1, fact("settle/1"))
    assert store.list_row_numbers("clearinghouse-0", replay_number=1) == []
    assert store.list_quarantined("clearinghouse-0", limit=9) == (now,)
    assert [item.settled for item in store.list_parts("clearinghouse-0")] == [False, True]


def test_a_replay_of_copies_only_is_settled_at_once(store: VaultStore) -> None:
    store.save_drop(stored(), fact("land/0"))
    store.save_admission(part(rows=3), rows(2, 5), fact("admit/0"))
    excluded = encode_row_numbers(np.array([2, 900, 10**12]))
    store.save_replay(part(1)._replace(settled=True, excluded=excluded), [2], rows(5), fact("admit/1"))
    assert store.list_row_numbers("clearinghouse-0") == [5]
    assert store.list_row_numbers("clearinghouse-0", replay_number=1) == []
    assert decode_row_numbers(store.list_parts("clearinghouse-0")[1].excluded).tolist() == [2, 900, 10**12]


def test_the_same_bytes_are_found_under_another_name(store: VaultStore) -> None:
    store.save_drop(stored(), fact("land/0"))
    second = stored(identifier="clearinghouse-1", name="b.csv").drop
    assert store.find_earlier_copy(second) is None
    store.save_admission(part(rows=3), [], fact("admit/0"))
    assert store.find_earlier_copy(second) == part(rows=3)
    assert store.find_earlier_copy(stored().drop) is None
    assert store.find_earlier_copy(second.model_copy(update={"digest": "f" * 64})) is None


def test_destroying_a_key_forgets_the_rows_under_it(store: VaultStore) -> None:
    store.save_drop(stored(), fact("land/0"))
    store.save_admission(part(rows=3), rows(2, 5, 7), fact("admit/0"))
    store.save_replay(part(1), [5], [], fact("admit/1"))
    store.destroy_key("clearinghouse-0", fact("retain/0"))
    assert store.get_drop("clearinghouse-0").wrapped_key is None
    assert store.list_decryptable_ids() == set()
    assert store.list_expired(stored().retention_until) == ()
    assert [(row.row_number, row.sealed) for row in store.list_quarantined("clearinghouse-0", limit=9)] == [(5, b"")]
    store.discard_replay("clearinghouse-0", 1, fact("retain/0/1"))
    assert store.list_quarantined("clearinghouse-0", limit=9) == ()


def test_a_token_key_is_kept_for_ever(store: VaultStore) -> None:
    store.add_token_key("claim", 1, "first")
    store.add_token_key("claim", 1, "second")
    store.add_token_key("member", 1, "other")
    assert store.list_token_keys() == {"claim": (1, "first"), "member": (1, "other")}
    store.add_token_key("claim", 2, "newer")
    assert store.list_token_keys()["claim"] == (2, "newer")


def test_the_contract_accepted_last_is_the_newest(store: VaultStore) -> None:
    column = ContractColumn(name="x", type="string", egress="never", classification="identifier")
    first = DataContract(
        tenant="wellspring-benefits",
        known_since=NOON,
        name="medical_claim",
        version="1.0.0",
        digest="1" * 64,
        source="clearinghouse",
        files="*.csv",
        format="csv",
        owner="owner",
        contact="claims-data@clearinghouse.example.com",
        columns=(column,),
    )
    second = first.model_copy(update={"version": "1.1.0", "digest": "2" * 64})
    assert store.list_latest_contracts() == {}
    for contract in (first, second):
        store.accept_contract(contract, fact(f"accept/{contract.version}"))
        assert store.list_latest_contracts()["medical_claim"] == contract
    assert store.get_contract("1" * 64) == first
    assert store.get_contract("9" * 64) is None
    store.accept_contract(first, fact("accept/again"))
    assert store.list_latest_contracts()["medical_claim"] == first


def test_finding_is_recorded_once(store: VaultStore) -> None:
    assert store.record_finding(fact("finding/x"))
    assert not store.record_finding(fact("finding/x"))
    assert store.outbox.read_pending_rows().entries == (fact("finding/x"),)


def test_stored_drops_survive_a_restart(server: Database, store: VaultStore) -> None:
    store.save_drop(stored(), fact("land/0"))
    again = server.store()
    assert again.get_drop("clearinghouse-0") == stored()
    again.close()


def test_a_lost_connection_is_made_again(store: VaultStore) -> None:
    store.save_drop(stored(), fact("land/0"))
    assert store._connection is not None
    store._connection.close()
    assert store.get_drop("clearinghouse-0") == stored()


def test_a_wrong_password_is_not_in_the_error(server: Database) -> None:
    with pytest.raises(Unavailable) as error:
        VaultStore(server.server, user="enclave", password="not-this-one", database="enclave", outbox_key=bytes(32))
    assert "not-this-one" not in error.value.what + error.value.fix


def test_a_file_is_finished_when_its_drop_is_published_or_has_nothing_to_publish(store: VaultStore) -> None:
    drops = {"published": part(rows=3), "empty": part(rows=4)._replace(settled=True), "discarded": part(rows=3)}
    for name, admission in drops.items():
        drop = f"clearinghouse-{name}"
        store.save_drop(stored(f"{name}.csv", drop), fact(f"land/{drop}"))
        store.save_admission(admission._replace(drop=drop), (), fact(f"admit/{drop}"))
    assert list(store.list_finished_files("clearinghouse")) == ["empty.csv"]
    store.settle_part("clearinghouse-published", 0, fact("settle/clearinghouse-published/0"))
    store.discard_replay("clearinghouse-discarded", 0, fact("expire/clearinghouse-discarded/0"))
    finished = store.list_finished_files("clearinghouse")
    assert sorted(finished) == ["empty.csv", "published.csv"]
    published = stored("published.csv", "clearinghouse-published")
    assert finished["published.csv"] == (published.drop.size, published.modified, published.identity)
    (discarded,) = store.list_unfinished_drops("clearinghouse").values()
    assert (discarded.stored_drop.drop.name, discarded.admitted, discarded.settled) == ("discarded.csv", True, True)
    assert store.list_finished_files("other") == store.list_unfinished_drops("other") == {}
