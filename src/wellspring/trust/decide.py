"""Ask the policies at a door, and record the answer: the only caller of `policy`."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from pydantic import JsonValue

from wellspring.errors import Refused
from wellspring.records.clock import Clock
from wellspring.records.observe import Step
from wellspring.records.verdict import Verdict
from wellspring.trust import policy
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import Policies, Resource


class Refusals:
    """What one door refused lately, so that nobody fills the ledger by asking: one entry a second for each principal
    and action, with the number of those before it. Each door that strangers reach has its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turn = threading.Lock()
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def before(self, principal: str, action: str) -> int | None:
        """Return how many refusals came since the last entry; None while it is too early for another entry."""
        now = self._clock.now().timestamp()
        with self._turn:
            last, silent = self._last.get((principal, action), (float("-inf"), 0))
            if abs(now - last) < 1.0:
                self._last[principal, action] = (last, silent + 1)
                return None
            self._last[principal, action] = (now, 0)
            return silent


def decide(
    policies: Policies,
    principal: Principal,
    action: str,
    resource: Resource,
    context: Mapping[str, JsonValue] | None = None,
    *,
    step: Step,
    hot: bool = False,
    refusals: Refusals | None = None,
    facts: Mapping[str, JsonValue] | None = None,
) -> Verdict:
    """Judge one request and record it as `decide RESOURCE`, with who asked, for what, and under which policies.

    hot: a permitted request leaves no entry of its own, because what it permits names the digest of the policies in
    its own line. A refusal always leaves one; refusals: the door's own count, which thins them to one a second.
    facts: more for the entry, names and counts only.
    """
    verdict = policy.decide(policies, principal, action, resource, context or {})
    noted: dict[str, JsonValue] = {"by": principal.name, "asked": action, "policy": policies.digest, **(facts or {})}
    if verdict.passed:
        if not hot:
            with step("decide", verdict.subject, facts=noted):
                pass
        return verdict
    before = refusals.before(principal.name, action) if refusals is not None else 0
    if before is not None:
        try:
            with step("decide", verdict.subject, facts={**noted, "before": before}):
                raise refused(verdict, principal, action)
        except Refused:
            # Recorded; what follows from it is for the door to say.
            pass
    return verdict


def refused(verdict: Verdict, principal: Principal, action: str) -> Refused:
    """Make the refusal that a door raises for a verdict that did not pass."""
    why = "; ".join(reason.what for reason in verdict.reasons)
    return Refused(
        f"{principal.name} may not {action} {verdict.subject}: {why}",
        fix="ask whoever owns the project's policies",
        verdict=verdict,
    )


def demand(
    policies: Policies,
    principal: Principal,
    action: str,
    resource: Resource,
    context: Mapping[str, JsonValue] | None = None,
    *,
    step: Step,
    hot: bool = False,
    refusals: Refusals | None = None,
    facts: Mapping[str, JsonValue] | None = None,
) -> None:
    """Decide, and raise Refused (with the verdict) unless it passed."""
    verdict = decide(policies, principal, action, resource, context, step=step, hot=hot, refusals=refusals, facts=facts)
    if not verdict.passed:
        raise refused(verdict, principal, action)
