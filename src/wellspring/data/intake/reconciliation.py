"""Account for every row of a drop, from its ledger entries and the row counts of the lake. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from wellspring.records.ingestion import RowAccount
from wellspring.records.trust import IndexedEntry
from wellspring.records.verdict import Reason

_UNDESCRIBED_NOTE = "the enclave has the details, which may contain a value"


def reconcile_drop(entries: Iterable[IndexedEntry], *, published: int) -> RowAccount:
    """Compute the row account of one drop.

    entries: the `done` entries of the drop. published: the number of its rows in the current edition of the lake.
    Admitted rows that are not published count as waiting: they are staged, or the enclave will hand them out again.
    Of a drop that was judged again only the entries since then count; no row of it was published before.
    """
    entries = list_current_entries(entries)
    admission = admission_entry(entries, replay_number=0)
    if admission is None:
        return RowAccount()
    received = admission.entry.count("received")
    if any(indexed_entry.entry.action == "withdraw" for indexed_entry in entries):
        return RowAccount(received=received, withdrawn=received)
    if admission.entry.facts["outcome"] != "pass":
        return RowAccount(received=received, rejected=received)
    admitted_rows = {
        indexed_entry.entry.count("replay_number"): indexed_entry.entry.count("admitted")
        for indexed_entry in entries
        if indexed_entry.entry.action == "admit"
    }
    for part in discarded_parts(entries):
        del admitted_rows[part]
    copied_rows = {
        indexed_entry.entry.count("replay_number"): _count_copies(indexed_entry)
        for indexed_entry in entries
        if indexed_entry.entry.action == "admit"
    }
    replayed = sum(rows + copied_rows[part] for part, rows in admitted_rows.items() if part > 0)
    expired = [entry.entry for entry in entries if entry.entry.action in {"expire", "discard"}]
    discarded = sum(entry.count("discarded") for entry in expired)
    unpublished = sum(entry.count("discarded") for entry in expired if entry.facts.get("unpublished"))
    return RowAccount(
        received=received,
        published=published,
        waiting=sum(admitted_rows.values()) - published,
        quarantined=admission.entry.count("quarantined") - replayed - (discarded - unpublished),
        discarded=discarded,
        copies=sum(copied_rows[part] for part in {0, *admitted_rows}),
    )


def list_current_entries(entries: Iterable[IndexedEntry]) -> list[IndexedEntry]:
    """Return the entries of a drop since it was last judged again; all of them if it never was."""
    entries = list(entries)
    rejudged = [place for place, indexed in enumerate(entries) if indexed.entry.action == "rejudge"]
    return entries[rejudged[-1] :] if rejudged else entries


def _count_copies(admission: IndexedEntry) -> int:
    copies = admission.entry.facts.get("copies")
    return sum(rows for rows in copies.values() if isinstance(rows, int)) if isinstance(copies, dict) else 0


def admission_entry(entries: Iterable[IndexedEntry], *, replay_number: int) -> IndexedEntry | None:
    """Return the latest entry of the admission of one part of a drop, or None."""
    matching = [
        indexed_entry
        for indexed_entry in entries
        if indexed_entry.entry.action == "admit" and indexed_entry.entry.facts.get("replay_number") == replay_number
    ]
    return matching[-1] if matching else None


def discarded_parts(entries: Iterable[IndexedEntry]) -> set[int]:
    """Return the replay numbers of parts whose rows were discarded before they reached the lake.

    The entry of an original whose retention ended names no part; its discarded rows are those in quarantine.
    """
    return {
        indexed_entry.entry.count("replay_number")
        for indexed_entry in entries
        if indexed_entry.entry.action == "expire"
        and (indexed_entry.entry.count("replay_number") or indexed_entry.entry.facts.get("unpublished"))
    }


def list_file_notes(entries: Iterable[IndexedEntry]) -> tuple[Reason, ...]:
    """Return what the admission of a drop noted about its file: a BOM, a missing last newline, undeclared columns."""
    admission = admission_entry(entries, replay_number=0)
    findings = admission.entry.facts.get("findings") if admission else None
    return tuple(
        Reason(
            code=str(finding["code"]),
            message=str(finding.get("message", _UNDESCRIBED_NOTE)),
            column=column if isinstance(column := finding.get("column"), str) else None,
            count=count if isinstance(count := finding.get("count"), int) else None,
        )
        for finding in (findings if isinstance(findings, list) else [])
        if isinstance(finding, dict)
    )
