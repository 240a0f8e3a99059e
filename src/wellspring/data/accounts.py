"""Where every row of a drop is, from what the ledger says and what the lake holds; pure."""

from __future__ import annotations

from collections.abc import Iterable

from wellspring.records.data import Account
from wellspring.records.trust import Logged
from wellspring.records.verdict import Reason


def account(lines: Iterable[Logged], *, published: int) -> Account:
    """Balance one drop. lines: its `done` entries; published: its rows that readers see, counted in the lake.

    Rows that the enclave admitted and readers do not see yet wait: staged, or still to be handed out again.
    """
    lines = list(lines)
    first = admitted(lines, part=0)
    if first is None:
        return Account()
    received = number(first, "received")
    if first.entry.facts["outcome"] != "pass":
        return Account(received=received, rejected=received)
    parts = {number(each, "part"): number(each, "admitted") for each in lines if each.entry.action == "admit"}
    for part in given_up(lines):
        del parts[part]
    replayed = sum(rows for part, rows in parts.items() if part > 0)
    discarded = sum(number(each, "discarded") for each in lines if each.entry.action == "retain")
    return Account(
        received=received,
        published=published,
        waiting=sum(parts.values()) - published,
        quarantined=number(first, "quarantined") - replayed - discarded,
        discarded=discarded,
    )


def admitted(lines: Iterable[Logged], *, part: int) -> Logged | None:
    """Return the entry in which the enclave judged one part of a drop."""
    found = [each for each in lines if each.entry.action == "admit" and each.entry.facts.get("part") == part]
    return found[-1] if found else None


def given_up(lines: Iterable[Logged]) -> set[int]:
    """Return the replayed parts whose rows were discarded before they reached the lake."""
    return {number(each, "part") for each in lines if each.entry.action == "retain"} - {0}


def undeclared(lines: Iterable[Logged]) -> tuple[Reason, ...]:
    """Say how many values were left behind in columns that the contract does not declare: none of them leaves."""
    first = admitted(lines, part=0)
    notes = first.entry.facts.get("notes") if first else None
    return tuple(
        Reason(
            code="undeclared_column",
            what="the contract declares no such column, so it stayed in the enclave",
            count=each["count"] if isinstance(each["count"], int) else None,
        )
        for each in (notes if isinstance(notes, list) else [])
        if isinstance(each, dict) and each["code"] == "undeclared_column"
    )


def number(logged: Logged, fact: str) -> int:
    """Return a count that an entry holds; 0 if it holds none."""
    value = logged.entry.facts.get(fact, 0)
    return value if isinstance(value, int) else 0
