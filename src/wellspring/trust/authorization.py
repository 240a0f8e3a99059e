"""Ask the policies at a door, and record the answer: the only caller of `policy`."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from pydantic import JsonValue

from wellspring.errors import Refused
from wellspring.records.clock import Clock
from wellspring.records.observe import Recorder
from wellspring.records.verdict import Verdict
from wellspring.trust import policy
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicyResource, PolicySet


class DenialThrottle:
    """What one door refused lately, so that nobody fills the ledger by asking: one entry a second for each principal
    and action, with the number of those before it. Each door that strangers reach has its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last_recorded: dict[tuple[str, str], tuple[float, int]] = {}

    def suppressed_count(self, principal: str, action: str) -> int | None:
        """Return how many refusals came since the last entry; None while it is too early for another entry."""
        now = self._clock.now().timestamp()
        with self._lock:
            last_recorded, suppressed = self._last_recorded.get((principal, action), (float("-inf"), 0))
            if abs(now - last_recorded) < 1.0:
                self._last_recorded[principal, action] = (last_recorded, suppressed + 1)
                return None
            self._last_recorded[principal, action] = (now, 0)
            return suppressed


def authorize(
    policies: PolicySet,
    principal: Principal,
    action: str,
    resource: PolicyResource,
    context: Mapping[str, JsonValue] | None = None,
    *,
    step: Recorder,
    record_denials_only: bool = False,
    throttle: DenialThrottle | None = None,
    facts: Mapping[str, JsonValue] | None = None,
) -> Verdict:
    """Judge one request and record it as `decide RESOURCE`, with who asked, for what, and under which policies.

    hot: a permitted request leaves no entry of its own, because what it permits names the digest of the policies in
    its own line. A refusal always leaves one; refusals: the door's own count, which thins them to one a second.
    facts: more for the entry, names and counts only.
    """
    verdict = policy.evaluate_request(policies, principal, action, resource, context or {})
    entry_facts: dict[str, JsonValue] = {
        "principal": principal.name,
        "requested_action": action,
        "policy_digest": policies.digest,
        **(facts or {}),
    }
    if verdict.passed:
        if not record_denials_only:
            with step("authorize", verdict.subject, facts=entry_facts):
                pass
        return verdict
    suppressed = throttle.suppressed_count(principal.name, action) if throttle is not None else 0
    if suppressed is not None:
        try:
            with step("authorize", verdict.subject, facts={**entry_facts, "suppressed_count": suppressed}):
                raise denial_error(verdict, principal, action)
        except Refused:
            # Recorded; what follows from it is for the door to say.
            pass
    return verdict


def denial_error(verdict: Verdict, principal: Principal, action: str) -> Refused:
    """Make the refusal that a door raises for a verdict that did not pass."""
    reasons_text = "; ".join(reason.message for reason in verdict.reasons)
    return Refused(
        f"{principal.name} may not {action} {verdict.subject}: {reasons_text}",
        fix="ask whoever owns the project's policies",
        verdict=verdict,
    )


def require_authorization(
    policies: PolicySet,
    principal: Principal,
    action: str,
    resource: PolicyResource,
    context: Mapping[str, JsonValue] | None = None,
    *,
    step: Recorder,
    record_denials_only: bool = False,
    throttle: DenialThrottle | None = None,
    facts: Mapping[str, JsonValue] | None = None,
) -> None:
    """Decide, and raise Refused (with the verdict) unless it passed."""
    verdict = authorize(
        policies,
        principal,
        action,
        resource,
        context,
        step=step,
        record_denials_only=record_denials_only,
        throttle=throttle,
        facts=facts,
    )
    if not verdict.passed:
        raise denial_error(verdict, principal, action)
