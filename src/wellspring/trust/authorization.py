"""Authorize requests with the policies, and record the decision."""

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
    """Limits the refusal entries of one interface to one a second for each principal and action.

    Each entry has the number of refusals before it that were not recorded. Every interface that other users can reach
    has its own throttle.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last_recorded: dict[tuple[str, str], tuple[float, int]] = {}

    def suppressed_count(self, principal: str, action: str) -> int | None:
        """Return the number of refusals since the last entry; None if it is too early for another entry."""
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
    """Evaluate a request, and record it as `authorize RESOURCE` with principal, action and policy digest.

    record_denials_only: record no entry for a permitted request, because the entry of the permitted action names the
    policy digest. throttle: limits the entries of refusals. facts: more facts for the entry, names and counts only.
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
            # The refusal is recorded; the caller decides what follows.
            pass
    return verdict


def denial_error(verdict: Verdict, principal: Principal, action: str) -> Refused:
    """Build the Refused error for a verdict that did not pass."""
    reasons_text = "; ".join(reason.message for reason in verdict.reasons)
    return Refused(
        f"{principal.name} may not {action} {verdict.subject}: {reasons_text}",
        fix="ask the owner of the project's policies",
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
    """Authorize a request (see `authorize`), and raise Refused with the verdict unless it passed."""
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
