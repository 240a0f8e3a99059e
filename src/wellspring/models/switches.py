"""What the ledger tells of the switches of a model: which release was live when, and who stood behind it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from wellspring.errors import Broken
from wellspring.records.record import stamp
from wellspring.records.trust import Entry, Logged
from wellspring.trust.approvals import Ledger

SWITCHES = ("promote", "rollback")


class Period(NamedTuple):
    """One release, live from one switch to the next. by: who did it; until: None while it lasts."""

    release: str
    since: str
    until: str | None
    act: str
    by: str
    proposed: tuple[str, ...]
    approved: str


def history(index: Ledger, model: str, at: datetime | None = None) -> tuple[Period, ...]:
    """Say what was live of a model, newest first; with `at` (UTC), only what was live at that instant."""
    acts = [each.entry for each in _switches(index, model) if each.entry.phase == "done"]
    told: list[Period] = []
    for place, entry in enumerate(acts):
        until = stamp(acts[place + 1].known_since) if place + 1 < len(acts) else None
        proposals = index.entries(subject=entry.subject, action="propose", phase="done")
        approvals = index.entries(subject=entry.subject, action="approve", phase="done")
        told.append(
            Period(
                switched(entry),
                stamp(entry.known_since),
                until,
                entry.action,
                fact(entry, "carried_out_by") or fact(entry, "person"),
                tuple(sorted({fact(each.entry, "person") for each in proposals})),
                fact(approvals[0].entry, "person") if approvals else "",
            )
        )
    if at is not None:
        moment = stamp(at)
        told = [each for each in told if each.since <= moment and (each.until is None or moment < each.until)]
    return tuple(reversed(told))


def line(index: Ledger, model: str) -> list[str]:
    """List the releases that one could go back through, the live one last. Raises Broken."""
    line: list[str] = []
    for each in _switches(index, model):
        name = switched(each.entry)
        if each.entry.phase != "done":
            continue
        if each.entry.action == "promote":
            line.append(name)
        elif line[-2:-1] == [name]:
            line.pop()
        else:
            raise Broken(f"{each.entry.id} went back to {name}, which was not live before", fix="verify the ledger")
    return line


def was_live(index: Ledger, model: str, release: str) -> bool:
    """Say whether a release was ever made live."""
    return any(each.entry.phase == "done" and switched(each.entry) == release for each in _switches(index, model))


def failed_last(index: Ledger, model: str) -> Entry | None:
    """Return the switch that came to its end last, if it failed: the pointer may have moved before it did."""
    ended = _switches(index, model)
    return ended[-1].entry if ended and ended[-1].entry.phase == "failed" else None


def switched(entry: Entry) -> str:
    """Name the release that a switch made live."""
    return entry.subject.removeprefix("release:")


def fact(entry: Entry, name: str) -> str:
    """Return one fact that is text; empty if it is none."""
    value = entry.facts.get(name)
    return value if isinstance(value, str) else ""


def _switches(index: Ledger, model: str) -> list[Logged]:
    """List the switches of a model that came to an end, done or failed, in the order of the ledger."""
    found = [each for action in SWITCHES for each in index.entries(action=action)]
    ended = [each for each in found if each.entry.phase in {"done", "failed"} and fact(each.entry, "model") == model]
    return sorted(ended, key=lambda each: each.index)
