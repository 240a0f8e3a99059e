"""What the ledger tells of the switches of a model: which release was live when, and who stood behind it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from wellspring.errors import CorruptedError
from wellspring.records.record import format_instant
from wellspring.records.trust import Entry, IndexedEntry
from wellspring.trust.approvals import LedgerEntries

SWITCH_ACTIONS = ("promote", "rollback")


class ReleasePeriod(NamedTuple):
    """One release, live from one switch to the next. by: who did it; until: None while it lasts."""

    release: str
    since: str
    until: str | None
    action: str
    changed_by: str
    proposed_by: tuple[str, ...]
    approved_by: str


def list_release_periods(
    index: LedgerEntries, model: str, instant: datetime | None = None
) -> tuple[ReleasePeriod, ...]:
    """Say what was live of a model, newest first; with `at` (UTC), only what was live at that instant."""
    switch_entries = [
        list_switch.entry for list_switch in _list_switches(index, model) if list_switch.entry.phase == "done"
    ]
    periods: list[ReleasePeriod] = []
    for position, entry in enumerate(switch_entries):
        until = format_instant(switch_entries[position + 1].known_since) if position + 1 < len(switch_entries) else None
        proposals = index.list_entries(subject=entry.subject, action="propose", phase="done")
        approvals = index.list_entries(subject=entry.subject, action="approve", phase="done")
        periods.append(
            ReleasePeriod(
                get_switched_release(entry),
                format_instant(entry.known_since),
                until,
                entry.action,
                get_text_fact(entry, "executed_by") or get_text_fact(entry, "user"),
                tuple(sorted({get_text_fact(proposal.entry, "user") for proposal in proposals})),
                get_text_fact(approvals[0].entry, "user") if approvals else "",
            )
        )
    if instant is not None:
        instant_text = format_instant(instant)
        periods = [
            period
            for period in periods
            if period.since <= instant_text and (period.until is None or instant_text < period.until)
        ]
    return tuple(reversed(periods))


def build_rollback_stack(index: LedgerEntries, model: str) -> list[str]:
    """List the releases that one could go back through, the live one last. Raises Broken."""
    rollback_stack: list[str] = []
    for indexed_entry in _list_switches(index, model):
        release_id = get_switched_release(indexed_entry.entry)
        if indexed_entry.entry.phase != "done":
            continue
        if indexed_entry.entry.action == "promote":
            rollback_stack.append(release_id)
        elif rollback_stack[-2:-1] == [release_id]:
            rollback_stack.pop()
        else:
            raise CorruptedError(
                f"{indexed_entry.entry.id} went back to {release_id}, which was not live before",
                fix="verify the ledger",
            )
    return rollback_stack


def was_live(index: LedgerEntries, model: str, release: str) -> bool:
    """Say whether a release was ever made live."""
    return any(
        indexed_entry.entry.phase == "done" and get_switched_release(indexed_entry.entry) == release
        for indexed_entry in _list_switches(index, model)
    )


def find_last_failed_switch(index: LedgerEntries, model: str) -> Entry | None:
    """Return the switch that came to its end last, if it failed: the pointer may have moved before it did."""
    ended = _list_switches(index, model)
    return ended[-1].entry if ended and ended[-1].entry.phase == "failed" else None


def get_switched_release(entry: Entry) -> str:
    """Name the release that a switch made live."""
    return entry.subject.removeprefix("release:")


def get_text_fact(entry: Entry, name: str) -> str:
    """Return one fact that is text; empty if it is none."""
    value = entry.facts.get(name)
    return value if isinstance(value, str) else ""


def _list_switches(index: LedgerEntries, model: str) -> list[IndexedEntry]:
    """List the switches of a model that came to an end, done or failed, in the order of the ledger."""
    indexed_entries = [
        indexed_entry for action in SWITCH_ACTIONS for indexed_entry in index.list_entries(action=action)
    ]
    ended = [
        item
        for item in indexed_entries
        if item.entry.phase in {"done", "failed"} and get_text_fact(item.entry, "model") == model
    ]
    return sorted(ended, key=lambda item: item.index)
