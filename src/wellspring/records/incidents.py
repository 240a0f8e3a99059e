"""Define incidents: what went wrong in operation, what was done about it, and whether it is over."""

from __future__ import annotations

from typing import Literal

from wellspring.records.record import Frozen, Instant, Record

Severity = Literal["info", "warning", "critical"]
"""critical: nothing heals it without a person."""


class IncidentAct(Frozen):
    """One attempt to heal an incident. what: the act (`restart`); result: how it ended (`ready`, `not_ready`)."""

    at: Instant
    what: str
    result: str


class Incident(Record):
    """One incident. known_since: the instant of its last change.

    opened_by: the service that noticed it. subject: what it is about (`server:enclave`). code, text: its cause, never
    with a value from data. owner: who takes care of it, from wellspring.toml; empty if nobody is named there.
    """

    id: str
    opened_by: str
    subject: str
    code: str
    text: str
    severity: Severity
    state: Literal["open", "healed"] = "open"
    acts: tuple[IncidentAct, ...] = ()
    owner: str = ""
    opened_at: Instant
    healed_at: Instant | None = None
