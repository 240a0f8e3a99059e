"""Where every row of a drop is, from what the ledger says and what the lake holds; pure."""

from __future__ import annotations

from collections.abc import Iterable

from wellspring.records.data import RowAccount
from wellspring.records.trust import IndexedEntry
from wellspring.records.verdict import Reason


def reconcile_drop(entries: Iterable[IndexedEntry], *, published: int) -> RowAccount:
    """Balance one drop. lines: its `done` entries; published: its rows that readers see, counted in the lake.

    Rows that the enclave admitted and readers do not see yet wait: staged, or still to be handed out again.
    """
    entries = list(entries)
    admission = admission_entry(entries, replay_number=0)
    if admission is None:
        return RowAccount()
    received = count_fact(admission, "received")
    if admission.entry.facts["outcome"] != "pass":
        return RowAccount(received=received, rejected=received)
    admitted_rows = {
        count_fact(indexed_entry, "replay_number"): count_fact(indexed_entry, "admitted")
        for indexed_entry in entries
        if indexed_entry.entry.action == "admit"
    }
    for part in discarded_parts(entries):
        del admitted_rows[part]
    replayed = sum(rows for part, rows in admitted_rows.items() if part > 0)
    discarded = sum(count_fact(entry, "discarded") for entry in entries if entry.entry.action == "expire")
    return RowAccount(
        received=received,
        published=published,
        waiting=sum(admitted_rows.values()) - published,
        quarantined=count_fact(admission, "quarantined") - replayed - discarded,
        discarded=discarded,
    )


def admission_entry(entries: Iterable[IndexedEntry], *, replay_number: int) -> IndexedEntry | None:
    """Return the entry in which the enclave judged one part of a drop."""
    matching = [
        indexed_entry
        for indexed_entry in entries
        if indexed_entry.entry.action == "admit" and indexed_entry.entry.facts.get("replay_number") == replay_number
    ]
    return matching[-1] if matching else None


def discarded_parts(entries: Iterable[IndexedEntry]) -> set[int]:
    """Return the replayed parts whose rows were discarded before they reached the lake."""
    return {
        count_fact(indexed_entry, "replay_number")
        for indexed_entry in entries
        if indexed_entry.entry.action == "expire"
    } - {0}


def undeclared_columns(entries: Iterable[IndexedEntry]) -> tuple[Reason, ...]:
    """Say how many values were left behind in columns that the contract does not declare: none of them leaves."""
    admission = admission_entry(entries, replay_number=0)
    findings = admission.entry.facts.get("findings") if admission else None
    return tuple(
        Reason(
            code="undeclared_column",
            message="the contract declares no such column, so it stayed in the enclave",
            count=finding["count"] if isinstance(finding["count"], int) else None,
        )
        for finding in (findings if isinstance(findings, list) else [])
        if isinstance(finding, dict) and finding["code"] == "undeclared_column"
    )


def count_fact(indexed_entry: IndexedEntry, fact_key: str) -> int:
    """Return a count that an entry holds; 0 if it holds none."""
    value = indexed_entry.entry.facts.get(fact_key, 0)
    return value if isinstance(value, int) else 0
