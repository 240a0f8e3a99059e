"""Each invariant notices the fault that it is there for, and a house in order breaks none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.crash.invariants import Seen, Sent, broken

FILE = Sent("claims.csv", rows=5, bad=frozenset({2}), repairable=frozenset({4}))


def entry(sequence: int, action: str, subject: str, **more: Any) -> dict[str, Any]:
    plain = {"phase": "done", "intent": None, "inputs": [], "facts": {}, "service": "worker"}
    return {**plain, "sequence": sequence, "action": action, "subject": subject, **more}


def in_order() -> Seen:
    inputs = [{"name": "rows:d/0", "digest": "00"}]
    entries = (
        entry(0, "land", "drop:d", service="enclave", facts={"name": "claims.csv"}),
        entry(1, "admit", "drop:d", service="enclave", facts={"replay_number": 0}),
        entry(0, "stage", "drop:d"),
        entry(1, "publish", "edition:e", phase="intent", inputs=inputs),
        entry(2, "publish", "edition:e", intent="worker:1"),
        entry(2, "settle", "drop:d", service="enclave", facts={"replay_number": 0}),
    )
    account = {"received": 5, "published": 3, "quarantined": 2, "discarded": 0, "rejected": 0, "waiting": 0}
    return Seen(
        sent=(FILE,),
        accounts={"drop:d": {**account, "balanced": True}},
        entries=entries,
        ledger="",
        journals={"worker": [0, 1, 2], "enclave": [0, 1, 2, 3]},
        editions={"e": {"parent": None}},
        pointer="e",
        rows=[("d", 1), ("d", 3), ("d", 5)],
        waiting={"d": 2},
        lineage=[],
    )


def without(seen: Seen, action: str, phase: str = "done") -> Seen:
    left = [item for item in seen.entries if (item["action"], item["phase"]) != (action, phase)]
    numbers: dict[str, int] = {}
    for place, item in enumerate(left):
        number = numbers.setdefault(item["service"], 0)
        left[place] = {**item, "sequence": number}
        numbers[item["service"]] += 1
    return seen._replace(entries=tuple(left))


def doubled(seen: Seen, action: str) -> Seen:
    more = [
        {**item, "sequence": sum(one["service"] == item["service"] for one in seen.entries)}
        for item in seen.entries
        if item["action"] == action and item["phase"] == "done"
    ]
    longer = {**seen.journals, "worker": list(range(9)), "enclave": list(range(9))}
    return seen._replace(entries=(*seen.entries, *more), journals=longer)


def account(seen: Seen, **changed: Any) -> Seen:
    return seen._replace(accounts={"drop:d": {**seen.accounts["drop:d"], **changed}})


FAULTS: dict[str, tuple[Callable[[Seen], Seen], str]] = {
    "ledger": (lambda seen: seen._replace(ledger="entry 3 was changed"), "does not verify"),
    "gap in the ledger": (lambda seen: seen._replace(entries=seen.entries[1:]), "twice, not at all, or out of order"),
    "double in a journal": (lambda seen: seen._replace(journals={"worker": [0, 1, 1]}), "gap or a double"),
    "journal lost entries": (lambda seen: seen._replace(journals={"worker": [0, 1]}), "has lost"),
    "not integrated": (lambda seen: seen._replace(journals={"worker": list(range(9))}), "not in the ledger"),
    "torn lineage": (lambda seen: seen._replace(lineage=["worker.jsonl"]), "torn"),
    "landed twice": (lambda seen: doubled(seen, "land"), "landed 2 times"),
    "admitted twice": (lambda seen: doubled(seen, "admit"), "admitted 2 times"),
    "no account": (lambda seen: seen._replace(accounts={}), "has no account"),
    "wrong account": (lambda seen: account(seen, published=2, waiting=1), "the account of claims.csv is"),
    "unbalanced": (lambda seen: account(seen, balanced=False), "does not balance"),
    "row twice": (lambda seen: seen._replace(rows=[*seen.rows, ("d", 1)]), "published twice"),
    "row lost": (lambda seen: seen._replace(rows=seen.rows[1:]), "1 rows of claims.csv are lost"),
    "bad row published": (lambda seen: seen._replace(rows=[*seen.rows, ("d", 2)]), "that should wait"),
    "stranger's row": (lambda seen: seen._replace(rows=[*seen.rows, ("x", 1)]), "no file was sent"),
    "publish without entry": (lambda seen: without(seen, "publish"), "edition e is published without an entry"),
    "entry without publish": (lambda seen: seen._replace(pointer=None), "has an entry and is not published"),
    "two entries of a publish": (lambda seen: doubled(seen, "publish"), "recorded 2 times"),
    "never published": (
        lambda seen: seen._replace(editions={**seen.editions, "f": {"parent": "e"}}),
        "edition f was written and never published",
    ),
    "open intent": (lambda seen: without(seen, "publish"), "the intent worker:1 (publish edition:e) is open"),
    "never settled": (lambda seen: without(seen, "settle"), "the enclave was never told"),
    "settled twice": (lambda seen: doubled(seen, "settle"), "settled 2 times"),
    "quarantine": (lambda seen: seen._replace(waiting={"d": 1}), "1 rows of drop:d wait in quarantine"),
}


def test_a_house_in_order_breaks_no_invariant() -> None:
    assert broken(in_order()) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_noticed(fault: str) -> None:
    change, said = FAULTS[fault]
    assert any(said in sentence for sentence in broken(change(in_order())))


def test_what_is_expected_follows_replay_and_retention() -> None:
    assert FILE.published == {1, 3, 5}
    assert FILE._replace(replayed=True).published == {1, 3, 4, 5}
    assert FILE._replace(replayed=True).waiting == {2}
    gone = in_order()._replace(sent=(FILE._replace(gone=True),), waiting={})
    assert broken(account(gone, quarantined=0, discarded=2)) == []
