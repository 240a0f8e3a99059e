"""Define the Verdict, which policies, contracts, gates and drift checks all return."""

from __future__ import annotations

from typing import Literal

from wellspring.records.record import Frozen

VerdictOutcome = Literal["pass", "fail", "inconclusive", "invalid"]


class Reason(Frozen):
    """One reason of a verdict. code: a stable word (`missing_column`). message: a sentence without data values."""

    code: str
    message: str
    column: str | None = None
    count: int | None = None


class Verdict(Frozen):
    """The result for one subject (`drop:...`): pass, fail, inconclusive (not enough evidence) or invalid."""

    subject: str
    outcome: VerdictOutcome
    reasons: tuple[Reason, ...] = ()

    @property
    def passed(self) -> bool:
        return self.outcome == "pass"
