"""One judgement type: policy, contract, gate, drift and SLO all answer with a Verdict."""

from __future__ import annotations

from typing import Literal

from wellspring.records.record import Frozen

VerdictOutcome = Literal["pass", "fail", "inconclusive", "invalid"]


class Reason(Frozen):
    """Why. code: a stable word (`pattern`, `missing_column`). what: a sentence without any value taken from data."""

    code: str
    message: str
    column: str | None = None
    count: int | None = None


class Verdict(Frozen):
    """A judgement on one subject (`drop:...`): pass, fail (harm), inconclusive (not enough evidence), invalid."""

    subject: str
    outcome: VerdictOutcome
    reasons: tuple[Reason, ...] = ()

    @property
    def passed(self) -> bool:
        return self.outcome == "pass"
