"""The release history of a model from the ledger: which release was live when, and who approved it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from wellspring.errors import CorruptedError
from wellspring.records.record import format_instant
from wellspring.records.trust import Entry, IndexedEntry
from wellspring.trust.approvals import LedgerEntries

SWITCH_ACTIONS = ("promote", "rollback")


class ReleasePeriod(NamedTuple):
    """The time during which one release was live. changed_by: who made it live; until: None while it is live."""

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
    """List the releases of a model that were live, newest first; with `instant` (UTC), the one that was live then."""
    switch_entries = [switch.entry for switch in _list_switches(index, model) if switch.entry.phase == "done"]
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
                entry.text("executed_by") or entry.text("user"),
                tuple(sorted({proposal.entry.text("user") for proposal in proposals})),
                approvals[0].entry.text("user") if approvals else "",
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
    """List the releases that were live one after another and not rolled back from, the live one last.

    A rollback to a release of the list removes those after it; one to a release that an earlier rollback removed adds
    it again. Raises CorruptedError for a rollback to a release that was never live.
    """
    rollback_stack: list[str] = []
    ever_live: set[str] = set()
    for indexed_entry in _list_switches(index, model):
        release_id = get_switched_release(indexed_entry.entry)
        if indexed_entry.entry.phase != "done":
            continue
        if indexed_entry.entry.action == "promote":
            rollback_stack.append(release_id)
            ever_live.add(release_id)
        elif release_id in rollback_stack[:-1]:
            del rollback_stack[rollback_stack.index(release_id) + 1 :]
        elif release_id in ever_live and release_id != rollback_stack[-1]:
            rollback_stack.append(release_id)
        else:
            raise CorruptedError(
                f"{indexed_entry.entry.id} rolled back to {release_id}, which was not live before",
                fix="verify the ledger",
            )
    return rollback_stack


class LiveRelease(NamedTuple):
    """What the log says about the live release of a model. release: its id; '' before the first.

    unsettled: releases that later switches named which have not completed: they run, or a crash interrupted them.
    """

    release: str
    unsettled: frozenset[str]


def find_live_release(index: LedgerEntries, model: str) -> LiveRelease:
    """Return which release of a model the last completed switch made live. Raises CorruptedError."""
    completed = [switch for switch in _list_switches(index, model) if switch.entry.phase == "done"]
    last = completed[-1].index if completed else -1
    unsettled = {
        get_switched_release(switch.entry)
        for action in SWITCH_ACTIONS
        for switch in index.list_entries(action=action)
        if switch.index > last and switch.entry.text("model") == model
    }
    rollback_stack = build_rollback_stack(index, model)
    return LiveRelease(rollback_stack[-1] if rollback_stack else "", frozenset(unsettled))


def list_switched_models(index: LedgerEntries) -> list[str]:
    """List the models with a completed switch, sorted."""
    switches = [switch.entry for action in SWITCH_ACTIONS for switch in index.list_entries(action=action, phase="done")]
    return sorted({switch.text("model") for switch in switches})


def was_live(index: LedgerEntries, model: str, release: str) -> bool:
    """Return whether a release was ever live."""
    return any(
        indexed_entry.entry.phase == "done" and get_switched_release(indexed_entry.entry) == release
        for indexed_entry in _list_switches(index, model)
    )


def find_last_failed_switch(index: LedgerEntries, model: str) -> Entry | None:
    """Return the newest completed switch if it failed; its pointer may have moved before the failure."""
    ended = _list_switches(index, model)
    return ended[-1].entry if ended and ended[-1].entry.phase == "failed" else None


def get_switched_release(entry: Entry) -> str:
    """Return the id of the release that a switch made live."""
    return entry.subject.removeprefix("release:")


def _list_switches(index: LedgerEntries, model: str) -> list[IndexedEntry]:
    """List the switches of a model that completed, done or failed, in ledger order."""
    indexed_entries = [
        indexed_entry for action in SWITCH_ACTIONS for indexed_entry in index.list_entries(action=action)
    ]
    ended = [
        indexed
        for indexed in indexed_entries
        if indexed.entry.phase in {"done", "failed"} and indexed.entry.text("model") == model
    ]
    return sorted(ended, key=lambda indexed: indexed.index)
