"""Each invariant detects its fault, and an intact project violates none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.crash.invariants import Observed, SentFile, find_violations

FILE = SentFile("claims.csv", rows=5, bad=frozenset({2}), repairable=frozenset({4}))


def entry(sequence: int, action: str, subject: str, **more: Any) -> dict[str, Any]:
    plain = {"phase": "done", "intent": None, "inputs": [], "facts": {}, "service": "worker"}
    return {**plain, "sequence": sequence, "action": action, "subject": subject, **more}


def intact_project() -> Observed:
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
    return Observed(
        sent=(FILE,),
        accounts={"drop:d": {**account, "balanced": True}},
        entries=entries,
        ledger="",
        journals={"worker": [0, 1, 2], "enclave": [0, 1, 2, 3]},
        editions={"e": {"parent": None}},
        pointer="e",
        rows=[("d", 1), ("d", 3), ("d", 5)],
        quarantined={"d": 2},
        lineage=[],
    )


def without(observed: Observed, action: str, phase: str = "done") -> Observed:
    remaining = [item for item in observed.entries if (item["action"], item["phase"]) != (action, phase)]
    numbers: dict[str, int] = {}
    for index, item in enumerate(remaining):
        number = numbers.setdefault(item["service"], 0)
        remaining[index] = {**item, "sequence": number}
        numbers[item["service"]] += 1
    return observed._replace(entries=tuple(remaining))


def doubled(observed: Observed, action: str) -> Observed:
    more = [
        {**item, "sequence": sum(done["service"] == item["service"] for done in observed.entries)}
        for item in observed.entries
        if item["action"] == action and item["phase"] == "done"
    ]
    longer = {**observed.journals, "worker": list(range(9)), "enclave": list(range(9))}
    return observed._replace(entries=(*observed.entries, *more), journals=longer)


def account(observed: Observed, **changed: Any) -> Observed:
    return observed._replace(accounts={"drop:d": {**observed.accounts["drop:d"], **changed}})


FAULTS: dict[str, tuple[Callable[[Observed], Observed], str]] = {
    "ledger": (lambda observed: observed._replace(ledger="entry 3 was changed"), "does not verify"),
    "gap in the ledger": (
        lambda observed: observed._replace(entries=observed.entries[1:]),
        "twice, out of order, or with a gap",
    ),
    "double in a journal": (lambda observed: observed._replace(journals={"worker": [0, 1, 1]}), "gap or a double"),
    "journal lost entries": (lambda observed: observed._replace(journals={"worker": [0, 1]}), "has lost"),
    "not integrated": (lambda observed: observed._replace(journals={"worker": list(range(9))}), "not in the ledger"),
    "torn lineage": (lambda observed: observed._replace(lineage=["worker.jsonl"]), "torn"),
    "landed twice": (lambda observed: doubled(observed, "land"), "landed 2 times"),
    "admitted twice": (lambda observed: doubled(observed, "admit"), "admitted 2 times"),
    "no account": (lambda observed: observed._replace(accounts={}), "has no account"),
    "wrong account": (lambda observed: account(observed, published=2, waiting=1), "the account of claims.csv is"),
    "unbalanced": (lambda observed: account(observed, balanced=False), "does not balance"),
    "row twice": (lambda observed: observed._replace(rows=[*observed.rows, ("d", 1)]), "published twice"),
    "row lost": (lambda observed: observed._replace(rows=observed.rows[1:]), "1 rows of claims.csv are lost"),
    "bad row published": (lambda observed: observed._replace(rows=[*observed.rows, ("d", 2)]), "must be quarantined"),
    "row without a file": (lambda observed: observed._replace(rows=[*observed.rows, ("x", 1)]), "no file was sent"),
    "publish without entry": (lambda observed: without(observed, "publish"), "edition e is published without an entry"),
    "entry without publish": (lambda observed: observed._replace(pointer=None), "has an entry but is not published"),
    "two entries of a publish": (lambda observed: doubled(observed, "publish"), "recorded 2 times"),
    "never published": (
        lambda observed: observed._replace(editions={**observed.editions, "f": {"parent": "e"}}),
        "edition f was written but never published",
    ),
    "open intent": (lambda observed: without(observed, "publish"), "the intent worker:1 (publish edition:e) is open"),
    "never settled": (lambda observed: without(observed, "settle"), "never settled"),
    "settled twice": (lambda observed: doubled(observed, "settle"), "settled 2 times"),
    "open job": (lambda observed: observed._replace(open_jobs=("0" * 12,)), "the job 000000000000 has not ended"),
    "quarantine": (lambda observed: observed._replace(quarantined={"d": 1}), "1 rows of drop:d are quarantined"),
}


def test_an_intact_project_violates_no_invariant() -> None:
    assert find_violations(intact_project()) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_detected(fault: str) -> None:
    change, output = FAULTS[fault]
    assert any(output in sentence for sentence in find_violations(change(intact_project())))


def test_expected_rows_follow_replay_and_retention() -> None:
    assert FILE.published == {1, 3, 5}
    assert FILE._replace(replayed=True).published == {1, 3, 4, 5}
    assert FILE._replace(replayed=True).quarantined == {2}
    gone = intact_project()._replace(sent=(FILE._replace(gone=True),), quarantined={})
    assert find_violations(account(gone, quarantined=0, discarded=2)) == []
