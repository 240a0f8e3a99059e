"""What is still to be done about the drops, from the entries of the ledger, and their row accounts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.builders.entry_index import Index
from tests.builders.recording_step import FixedClock, RecordingStep
from wellspring.data.intake.drop_index import DropIndex, ReplayedPart, add_published
from wellspring.data.intake.reconciliation import reconcile_drop
from wellspring.records.trust import Ref

CONTRACT = "c" * 64


class Entries:
    """The entries of drops of one vendor, and the index that reads them."""

    def __init__(self, path: Path | None = None) -> None:
        self.step = RecordingStep()
        self.ledger: Any = Index(self.step)
        self.path = path
        self.drops = DropIndex(path, self.ledger)

    def reopen(self) -> DropIndex:
        self.drops.close()
        self.drops = DropIndex(self.path, self.ledger)
        return self.drops

    def admit(
        self, drop: str, outcome: str, *, admitted: int = 0, source: str = "vendor", quarantined: int = 0
    ) -> None:
        with self.step("land", f"drop:{drop}", inputs=[Ref(name=f"source:{source}/{drop}")], facts={"contract": "a"}):
            pass
        self.record_admission(drop, 0, outcome=outcome, admitted=admitted, quarantined=quarantined)

    def record_admission(
        self, drop: str, part: int, *, outcome: str = "pass", admitted: int, quarantined: int = 0
    ) -> None:
        facts: dict[str, Any] = {
            "replay_number": part, "outcome": outcome, "received": admitted + quarantined, "admitted": admitted,
            "quarantined": quarantined,
        }  # fmt: skip
        with self.step("admit", f"drop:{drop}", inputs=[Ref(name="contract:a@1", digest=CONTRACT)], facts=facts):
            pass

    def record(self, action: str, drop: str, **facts: Any) -> None:
        with self.step(action, f"drop:{drop}", facts=facts):
            pass

    def publish(self, edition: str, *rows: str, done: bool = True) -> None:
        refs = [Ref(name=f"rows:{name}", digest="d" * 64) for name in rows]
        self.step.write("publish", "intent", f"edition:{edition}", intent=None, inputs=refs, outputs=(), facts={})
        if done:
            self.step.complete_after_crash("publish", f"edition:{edition}", "x")


@pytest.fixture
def entries() -> Entries:
    return Entries()


def test_a_rejected_drop_is_stopped_until_a_later_good_one_of_its_contract(entries: Entries):
    entries.admit("bad", "fail")
    entries.admit("same run", "pass", admitted=3)
    assert entries.drops.list_stopped("vendor") == {"bad": "a"}, "also before its alert"
    entries.record("alert", "bad")
    assert entries.drops.list_stopped("vendor") == {"bad": "a"}
    entries.admit("without rows", "pass")
    assert entries.drops.list_stopped("vendor") == {"bad": "a"}
    entries.admit("of another source", "pass", admitted=3, source="lab")
    assert entries.drops.list_stopped("vendor") == {"bad": "a"}
    entries.admit("good", "pass", admitted=3)
    assert entries.drops.list_stopped("vendor") == {}


def test_a_drop_of_another_source_is_not_stopped_here(entries: Entries):
    entries.admit("bad", "fail", source="lab")
    assert entries.drops.list_stopped("vendor") == {}
    assert entries.drops.list_stopped("lab") == {"bad": "a"}


def test_a_published_part_is_unsettled_until_the_enclave_knows_it(entries: Entries):
    entries.admit("d1", "pass", admitted=3)
    entries.publish("e1", "d1/0", done=False)
    assert entries.drops.list_unsettled() == [], "the publish has not ended"
    entries.step.complete_after_crash("publish", "edition:e1", "x")
    assert entries.drops.list_unsettled() == [("d1", 0)]
    entries.record("settle", "d1", replay_number=0)
    assert entries.drops.list_unsettled() == []


def test_a_publish_of_another_level_publishes_no_part(entries: Entries):
    refs = [Ref(name="edition:e1", digest="d" * 64)]
    entries.step.write("publish", "intent", "edition:b1", intent=None, inputs=refs, outputs=(), facts={})
    entries.step.complete_after_crash("publish", "edition:b1", "x")
    assert entries.drops.list_unsettled() == []


def test_a_replayed_part_waits_until_it_is_published_or_discarded(entries: Entries):
    entries.admit("d1", "pass", admitted=3, quarantined=2)
    entries.record_admission("d1", 1, admitted=1)
    entries.record_admission("d1", 2, admitted=0)
    entries.record_admission("d1", 3, admitted=1)
    waiting = [ReplayedPart("d1", number, CONTRACT) for number in (1, 3)]
    assert entries.drops.list_waiting_replays() == waiting
    assert entries.drops.list_waiting_drops(oldest=5) == ["d1"]
    entries.record("expire", "d1", replay_number=3, discarded=1)
    assert entries.drops.list_waiting_replays() == waiting[:1]
    entries.publish("e1", "d1/0", "d1/1")
    assert entries.drops.list_waiting_replays() == []
    assert entries.drops.list_waiting_drops(oldest=5) == []


def test_drops_are_listed_in_the_order_in_which_they_landed(entries: Entries):
    for name in ("d3", "d1", "d2"):
        entries.admit(name, "pass", admitted=1)
    assert entries.drops.list_drops() == ["d3", "d1", "d2"]
    assert entries.drops.list_drops(newest=2) == ["d1", "d2"]
    assert entries.drops.list_waiting_drops(oldest=2) == ["d3", "d1"]
    assert entries.drops.count_drops() == 3


def test_accounts_are_those_of_the_ledger(entries: Entries):
    entries.admit("d1", "pass", admitted=3, quarantined=2)
    entries.admit("d2", "fail", quarantined=4)
    entries.record_admission("d1", 1, admitted=1, quarantined=1)
    entries.record("expire", "d1", discarded=1)
    for drop in ("d1", "d2"):
        expected = reconcile_drop(entries.ledger.list_entries(subject=f"drop:{drop}", phase="done"), published=0)
        assert entries.drops.list_accounts([drop]) == {drop: expected}
        assert expected.balanced
    assert list(entries.drops.list_accounts(["d2", "none", "d1"])) == ["d2", "d1"]
    total = entries.drops.sum_accounts()
    assert (total.received, total.waiting, total.quarantined, total.rejected, total.discarded) == (9, 4, 0, 4, 1)
    assert add_published(total, 3) == total.model_copy(update={"published": 3, "waiting": 1})


def test_a_finding_is_current_until_it_is_closed(entries: Entries):
    def record(action: str, subject: str, service: str, **facts: Any) -> None:
        with entries.step(action, subject, facts=facts):
            pass
        entries.step.entries[-1] = entries.step.entries[-1].model_copy(update={"service": service})

    facts = {"code": "no_contract", "source": "vendor"}
    record("finding", "file:vendor/1", "enclave", finding="f1", **facts)
    record("finding", "file:vendor/2", "api", finding="f2", **facts)
    assert entries.drops.list_current_findings("vendor") == [("f1", "no_contract", "open")]
    assert entries.drops.list_current_findings("lab") == []
    record("acknowledge", "finding:f1", "api")
    record("resolve", "finding:f1", "enclave")
    assert [finding.state for finding in entries.drops.list_current_findings("vendor")] == ["open"]
    record("acknowledge", "finding:f1", "worker")
    assert [finding.state for finding in entries.drops.list_current_findings("vendor")] == ["acknowledged"]
    record("resolve", "finding:f1", "worker")
    assert entries.drops.list_current_findings("vendor") == []
    assert (entries.drops.is_closed("f1"), entries.drops.is_closed("f2")) == (True, False)
    record("reopen", "finding:f1", "worker")
    assert entries.drops.is_closed("f1") is False


def test_only_new_entries_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    entries = Entries(tmp_path / "drops.sqlite")
    for number in range(5):
        entries.admit(f"d{number}", "pass", admitted=1)
    assert entries.drops.count_drops() == 5
    starts: list[int] = []
    list_entries = entries.ledger.list_entries
    monkeypatch.setattr(
        entries.ledger,
        "list_entries",
        lambda **filters: starts.append(filters.get("after", 0)) or list_entries(**filters),
    )
    again = entries.reopen()
    assert again.count_drops() == 5
    assert starts == []
    entries.admit("d5", "pass", admitted=1)
    assert again.count_drops() == 6
    assert set(starts) == {10, 0}, "new entries, and those of the drop that changed"
    assert starts.count(0) == 1


@pytest.mark.parametrize("damage", ["removed", "damaged", "format", "older ledger", "other ledger"])
def test_an_index_that_does_not_fit_is_made_anew(tmp_path: Path, damage: str):
    path = tmp_path / "drops.sqlite"
    entries = Entries(path)
    for number in range(3):
        entries.admit(f"d{number}", "pass", admitted=1)
    assert entries.drops.count_drops() == 3
    if damage == "format":
        connection: Any = entries.drops._file
        connection.execute("pragma user_version = 99")
    entries.drops.close()
    if damage in {"removed", "damaged"}:
        for file in tmp_path.iterdir():
            file.unlink()
        if damage == "damaged":
            path.write_bytes(b"not a database" * 100)
    if damage == "older ledger":
        del entries.step.entries[4:]
    if damage == "other ledger":
        entries.step.entries.clear()
        entries.step.clock = FixedClock(datetime(2027, 1, 1, tzinfo=UTC))
        for number in range(7, 12):
            entries.admit(f"d{number}", "pass", admitted=1)
    expected = {"older ledger": ["d0", "d1"], "other ledger": ["d7", "d8", "d9", "d10", "d11"]}
    assert entries.reopen().list_drops() == expected.get(damage, ["d0", "d1", "d2"])
