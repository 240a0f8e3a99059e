"""After its retention, the key of an original is destroyed, then its file, then the entry is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.builders.enclave import ProjectFixture
from tests.builders.memory_keys import Keyring
from wellspring.data.intake import originals
from wellspring.data.intake.reconciliation import reconcile_drop
from wellspring.enclave import retention
from wellspring.errors import NotFound, Refused
from wellspring.records.trust import IndexedEntry
from wellspring.trust.vault.postgres import VaultStore

pytestmark = pytest.mark.live
BAD = ("C-1,a,1.50", "C-2,new,2.00", "C-3,new,x", "C-4,b,4.00")


def taken(project: ProjectFixture) -> str:
    project.put("claim_1.csv", *BAD)
    with project.open_enclave() as enclave:
        return enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest).drop.id


def test_original_expires_after_its_retention(project: ProjectFixture) -> None:
    drop = taken(project)
    project.clock.pass_(days=6, hours=23)
    with project.open_enclave() as enclave:
        assert project.originals() == [drop]
        project.clock.pass_(hours=1)
        enclave.run_maintenance()
        assert project.originals() == []
        assert project.store.get_drop(drop).wrapped_key is None
        assert enclave.list_quarantined() == ()
        with pytest.raises(NotFound):
            enclave.replay_quarantined(drop, project.contract().digest)
        assert [file.state for file in enclave.list_files("clearinghouse")] == ["ingested"]
    (entry,) = project.list_entries("expire")
    assert (entry.subject, entry.facts) == (f"drop:{drop}", {"discarded": 2, "key": "destroyed", "file": "removed"})
    assert project.list_entries("finding") == []


@pytest.mark.parametrize("act", ["start", "intake"])
def test_retention_runs_at_start_and_before_each_intake(project: ProjectFixture, act: str) -> None:
    taken(project)
    project.put("claim_2.csv", "C-9,a,1")
    if act == "start":
        project.clock.pass_(days=8)
        with project.open_enclave():
            assert project.originals() == []
    else:
        with project.open_enclave() as enclave:
            project.clock.pass_(days=8)
            second = enclave.ingest_file("clearinghouse", "claim_2.csv", project.contract().digest)
            assert project.originals() == [second.drop.id]
    assert len(project.list_entries("expire")) == 1


def test_key_is_destroyed_before_the_file(project: ProjectFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    drop = taken(project)
    project.clock.pass_(days=8)
    order: list[str] = []

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            order.append(name)
            return real(*arguments, **named)

        return call

    monkeypatch.setattr(VaultStore, "destroy_key", noting("key", VaultStore.destroy_key))
    monkeypatch.setattr(originals, "remove_original", noting("file", originals.remove_original))
    with project.open_enclave():
        assert order == ["key", "file"]
        assert project.store.get_drop(drop).wrapped_key is None


def test_copy_of_original_is_unreadable_without_its_key(project: ProjectFixture) -> None:
    drop = taken(project)
    path = project.folder / ".wellspring/enclave/originals" / drop
    copy = path.read_bytes()
    project.clock.pass_(days=8)
    with project.open_enclave() as enclave:
        path.write_bytes(copy)
        with pytest.raises(Refused, match="retention ended"):
            enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        enclave.run_maintenance()
        assert project.originals() == [], "a file that nothing opens is removed"


def test_readable_original_after_retention_is_a_finding(
    project: ProjectFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = taken(project)
    project.clock.pass_(days=8)
    monkeypatch.setattr(retention, "expire_originals", lambda *_, **__: ())
    with project.open_enclave() as enclave:
        enclave.run_maintenance()
        folder = project.folder / ".wellspring/enclave/originals"
        keys = Keyring(project.root_key)
        late = retention.find_overdue(project.store, keys=keys, folder=folder, now=project.clock.now())
        assert [stored.drop.id for stored in late] == [drop]
    (finding,) = project.list_entries("finding")
    assert (finding.subject, finding.facts["code"]) == (f"drop:{drop}", "overdue")


@pytest.mark.crash
def test_killed_retention_is_recorded_once(project: ProjectFixture) -> None:
    taken(project)
    project.clock.pass_(days=8)
    project.kill("enclave.expire:key_destroyed", "run_maintenance")
    assert len(project.originals()) == 1
    assert project.list_entries("expire") == []
    for _ in range(2):
        with project.open_enclave():
            assert project.originals() == []
    (entry,) = project.list_entries("expire")
    assert entry.facts["discarded"] == 2


def test_unconfirmed_replay_is_neither_lost_nor_counted_twice(project: ProjectFixture) -> None:
    """Its rows may already be published: they are discarded only if the part is requested and cannot be repeated."""
    drop = taken(project)
    with project.open_enclave() as enclave:
        better = project.release_contract(enclave, version="1.1.0", kinds=("a", "b", "new"))
        enclave.replay_quarantined(drop, better.digest)
        project.clock.pass_(days=8)
        enclave.run_maintenance()
        assert [row.values for row in enclave.list_quarantined()] == [{}]
        with pytest.raises(NotFound, match="retention ended"):
            enclave.replay_quarantined(drop, better.digest)
        assert enclave.list_quarantined() == ()
    assert [entry.facts["discarded"] for entry in project.list_entries("expire")] == [1, 1]


def test_a_replay_settled_after_its_retention_is_published(project: ProjectFixture) -> None:
    drop = taken(project)
    with project.open_enclave() as enclave:
        better = project.release_contract(enclave, version="1.1.0", kinds=("a", "b", "new"))
        enclave.replay_quarantined(drop, better.digest)
        project.clock.pass_(days=8)
        enclave.confirm_published(drop, 1)
        assert enclave.list_quarantined() == ()
    assert [entry.facts["discarded"] for entry in project.list_entries("expire")] == [1]
    assert len(project.list_entries("settle")) == 1


def test_rows_that_were_not_published_before_the_retention_ended_are_one_finding(project: ProjectFixture) -> None:
    drop = taken(project)
    project.clock.pass_(days=8)
    with project.open_enclave() as enclave:
        for _ in range(2):
            with pytest.raises(Refused, match="its rows are not in the lake") as refused:
                enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
            assert refused.value.verdict is not None
            (finding,) = project.list_entries("finding")
            assert refused.value.verdict.subject == f"finding:{finding.facts['finding']}"
    assert (finding.subject, finding.facts["code"]) == (f"drop:{drop}", "retention_ended")
    waiting, unpublished = project.list_entries("expire")
    assert (waiting.facts["discarded"], unpublished.facts["discarded"]) == (2, 2)
    entries = [IndexedEntry(index=0, entry=entry) for entry in project.list_entries()]
    account = reconcile_drop(entries, published=0)
    assert (account.received, account.discarded, account.balanced) == (4, 4, True)
