"""After its days an original is noise: the key goes first, then the file, then it is told; on a clock that jumps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.builders.enclave import House
from tests.builders.memory_keys import Keyring
from wellspring.data.intake import originals
from wellspring.enclave import retention
from wellspring.errors import NotFound
from wellspring.trust.vault.postgres import VaultStore

pytestmark = pytest.mark.live
BAD = ("C-1,a,1.50", "C-2,new,2.00", "C-3,new,x", "C-4,b,4.00")


def taken(house: House) -> str:
    house.put("claim_1.csv", *BAD)
    with house.opened() as enclave:
        return enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest).drop.id


def test_an_original_lasts_its_days_and_no_longer(house: House) -> None:
    drop = taken(house)
    house.clock.pass_(days=6, hours=23)
    with house.opened() as enclave:
        assert house.originals() == [drop]
        house.clock.pass_(hours=1)
        enclave.run_maintenance()
        assert house.originals() == []
        assert house.store.get_drop(drop).wrapped_key is None
        assert enclave.list_quarantined() == ()
        with pytest.raises(NotFound, match="retention ended"):
            enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        with pytest.raises(NotFound):
            enclave.replay_quarantined(drop, house.contract().digest)
        assert [file.state for file in enclave.list_files("clearinghouse")] == ["ingested"]
    (entry,) = house.list_entries("expire")
    assert (entry.subject, entry.facts) == (f"drop:{drop}", {"discarded": 2, "key": "destroyed", "file": "removed"})
    assert house.list_entries("finding") == []


@pytest.mark.parametrize("act", ["start", "intake"])
def test_it_ends_at_start_and_before_each_intake(house: House, act: str) -> None:
    taken(house)
    house.put("claim_2.csv", "C-9,a,1")
    if act == "start":
        house.clock.pass_(days=8)
        with house.opened():
            assert house.originals() == []
    else:
        with house.opened() as enclave:
            house.clock.pass_(days=8)
            second = enclave.ingest_file("clearinghouse", "claim_2.csv", house.contract().digest)
            assert house.originals() == [second.drop.id]
    assert len(house.list_entries("expire")) == 1


def test_the_key_goes_before_the_file(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    drop = taken(house)
    house.clock.pass_(days=8)
    order: list[str] = []

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            order.append(name)
            return real(*arguments, **named)

        return call

    monkeypatch.setattr(VaultStore, "destroy_key", noting("key", VaultStore.destroy_key))
    monkeypatch.setattr(originals, "remove_original", noting("file", originals.remove_original))
    with house.opened():
        assert order == ["key", "file"]
        assert house.store.get_drop(drop).wrapped_key is None


def test_a_copy_of_the_file_is_noise_once_the_key_is_destroyed(house: House) -> None:
    drop = taken(house)
    path = house.folder / ".wellspring/enclave/originals" / drop
    copy = path.read_bytes()
    house.clock.pass_(days=8)
    with house.opened() as enclave:
        path.write_bytes(copy)
        with pytest.raises(NotFound, match="retention ended"):
            enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        assert house.originals() == [], "a file that nothing opens is removed"


def test_an_original_past_its_date_that_still_opens_is_a_finding(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    drop = taken(house)
    house.clock.pass_(days=8)
    monkeypatch.setattr(retention, "expire_originals", lambda *_, **__: ())
    with house.opened() as enclave:
        enclave.run_maintenance()
        folder = house.folder / ".wellspring/enclave/originals"
        keys = Keyring(house.root_key)
        late = retention.find_overdue(house.store, keys=keys, folder=folder, now=house.clock.now())
        assert [kept.drop.id for kept in late] == [drop]
    (finding,) = house.list_entries("finding")
    assert (finding.subject, finding.facts["code"]) == (f"drop:{drop}", "overdue")


@pytest.mark.crash
def test_a_retention_killed_halfway_is_told_once(house: House) -> None:
    taken(house)
    house.clock.pass_(days=8)
    house.kill("enclave.expire:key_destroyed", "keep_house")
    assert len(house.originals()) == 1
    assert house.list_entries("expire") == []
    for _ in range(2):
        with house.opened():
            assert house.originals() == []
    (entry,) = house.list_entries("expire")
    assert entry.facts["discarded"] == 2


def test_a_replay_on_its_way_out_is_neither_lost_nor_counted_twice(house: House) -> None:
    """Its rows may be published already: they are discarded only when the part is asked for and cannot be answered."""
    drop = taken(house)
    better = house.promise(version="1.1.0", kinds=("a", "b", "new"))
    with house.opened() as enclave:
        enclave.replay_quarantined(drop, better.digest)
        house.clock.pass_(days=8)
        enclave.run_maintenance()
        assert [row.values for row in enclave.list_quarantined()] == [{}]
        with pytest.raises(NotFound, match="retention ended"):
            enclave.replay_quarantined(drop, better.digest)
        assert enclave.list_quarantined() == ()
    assert [entry.facts["discarded"] for entry in house.list_entries("expire")] == [1, 1]


def test_a_replay_settled_after_its_retention_is_published(house: House) -> None:
    drop = taken(house)
    better = house.promise(version="1.1.0", kinds=("a", "b", "new"))
    with house.opened() as enclave:
        enclave.replay_quarantined(drop, better.digest)
        house.clock.pass_(days=8)
        enclave.confirm_published(drop, 1)
        assert enclave.list_quarantined() == ()
    assert [entry.facts["discarded"] for entry in house.list_entries("expire")] == [1]
    assert len(house.list_entries("settle")) == 1
