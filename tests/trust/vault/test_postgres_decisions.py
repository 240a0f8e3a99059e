"""A decision removes what an earlier admission left, in one transaction with its entry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.enclave import reset_database
from tests.builders.postgres import Database
from tests.builders.vault_records import NOON, fact, part, rows, stored
from wellspring.trust.vault.postgres import VaultStore

pytestmark = pytest.mark.live

DROP = "clearinghouse-0"


@pytest.fixture
def store(shared_postgres: Database) -> Iterator[VaultStore]:
    store = shared_postgres.store()
    yield store
    store.close()
    reset_database(shared_postgres)


def test_a_withdrawn_drop_has_no_admission_and_is_not_listed_as_unfinished(store: VaultStore):
    store.save_drop(stored(), fact("land/0"))
    store.save_admission(part(rows=2), rows(1, 2), fact("admit/0"))
    assert list(store.list_unfinished_drops("clearinghouse")) == ["a.csv"]
    store.decisions.withdraw_drop(DROP, NOON, fact("withdraw/0"))
    assert store.get_drop(DROP).withdrawn
    assert store.list_parts(DROP) == ()
    assert store.list_row_numbers(DROP) == []
    assert store.list_unfinished_drops("clearinghouse") == {}
    assert list(store.list_finished_files("clearinghouse")) == ["a.csv"]
    assert store.decisions.has_entry("withdraw/0")
    assert not store.decisions.has_entry("withdraw/1")


def test_a_drop_that_is_judged_again_is_as_before_its_admission(store: VaultStore):
    store.save_drop(stored(), fact("land/0"))
    store.save_admission(part(rows=2), rows(1, 2), fact("admit/0"))
    store.decisions.withdraw_drop(DROP, NOON, fact("withdraw/0"))
    renewed = stored().drop.model_copy(update={"contract_version": "1.1.0"})
    store.decisions.reset_drop(renewed, fact("rejudge/0"))
    read = store.get_drop(DROP)
    assert (read.drop, read.withdrawn, read.rejudgements) == (renewed, False, 1)
    assert not store.list_unfinished_drops("clearinghouse")["a.csv"].admitted
    store.decisions.update_contract(stored().drop)
    assert store.get_drop(DROP).drop == stored().drop


def test_copies_of_withdrawn_drops_and_published_ones_are_recognized(store: VaultStore):
    store.save_drop(stored(), fact("land/0"))
    copy = stored("b.csv", "clearinghouse-1")
    store.save_drop(copy, fact("land/1"))
    assert store.decisions.find_withdrawn_copy(copy.drop) is None
    store.decisions.withdraw_drop(DROP, NOON, fact("withdraw/0"))
    assert store.decisions.find_withdrawn_copy(copy.drop) == DROP
    assert store.decisions.find_withdrawn_copy(stored().drop) is None
    assert not store.decisions.is_published(DROP)
    store.save_admission(part(), [], fact("admit/0"))
    store.settle_part(DROP, 0, fact(f"settle/{DROP}/0"))
    assert store.decisions.is_published(DROP)


def test_only_rows_that_no_replay_released_are_discarded(store: VaultStore):
    store.save_drop(stored(), fact("land/0"))
    store.save_admission(part(rows=2), rows(1, 2), fact("admit/0"))
    store.save_replay(part(1, rows=1), [1], [], fact("admit/1"))
    store.decisions.discard_quarantined(DROP, fact("discard/0"))
    assert store.list_row_numbers(DROP) == []
    assert store.list_row_numbers(DROP, replay_number=1) == [1]
