"""Make an attempt and its twin, and compare what happened with what the catalogue says."""

from __future__ import annotations

import time
from typing import NamedTuple

from tests.redteam.catalogue import Attempt
from tests.redteam.target import Target, describe_outcome, wait_until
from tests.redteam.unrecorded import explain_missing_entry

LOG_SECONDS = 10.0
"""Time within which the sequencer adds an entry to the log."""


class Result(NamedTuple):
    """What happened. outcome, twin_outcome: of the attempt and of its twin. problem: '' if all is as it must be."""

    name: str
    kind: str
    position: str
    description: str
    outcome: str
    twin_outcome: str
    is_refused: bool
    is_twin_allowed: bool
    is_recorded: bool
    no_entry_because: str
    awaited: str
    problem: str
    seconds: float


def make_attempt(target: Target, item: Attempt) -> Result:
    """Make an attempt, look for its ledger entry, then make its twin."""
    started = time.monotonic()
    target.prepare(item.needs)
    if item.recorded:
        target.mark_records()
    outcome = describe_outcome(lambda: item.perform(target, False))
    is_recorded = bool(item.recorded) and wait_until(lambda: any(map(target.has_record, item.recorded)), LOG_SECONDS)
    twin_outcome = describe_outcome(lambda: item.perform(target, True))
    is_refused, is_twin_allowed = outcome == item.refused, twin_outcome == item.allowed
    problems = [] if is_refused or item.awaited else [f"it ended with {outcome!r}, not with {item.refused!r}"]
    if not is_twin_allowed:
        problems.append(f"its twin ended with {twin_outcome!r}, not with {item.allowed!r}")
    if item.recorded and not is_recorded and not item.awaited:
        problems.append(f"no entry of {' or '.join(item.recorded)} was recorded")
    return Result(
        item.name, item.kind, item.position, item.description, outcome, twin_outcome, is_refused, is_twin_allowed,
        is_recorded, explain_missing_entry(item), item.awaited, "; ".join(problems),
        round(time.monotonic() - started, 1),
    )  # fmt: skip
