"""Check which releases of a model could answer at an instant, from the recorded changes of its deployment.

A change has effect from its intent on, and what it replaced may still answer for a few seconds after it, because the
processes of the API follow the log. So several states are possible for an answer; it must agree with one of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from wellspring_verify.entries import EntryBook, PackEntry, PackRef, fact_text
from wellspring_verify.instants import elapsed_seconds
from wellspring_verify.users import ApprovalChecker

MAX_SWITCH_LAG_SECONDS = 10
"""Seconds after a change in which a prediction may still use what it replaced: it had already started."""
SWITCH_ACTIONS = ("promote", "rollback")
"""Actions that make a release the stable one, and end the role of a challenger."""
CHALLENGER_ACTIONS = ("deploy", "undeploy")
"""Actions that give a release the role of the challenger, and end it."""
_DENOMINATOR = 2**64


def selects_challenger(seed: str, share: str, request_digest: str) -> bool:
    """Return whether a challenger with this share answers a request.

    The first 64 bits of the SHA-256 of `SEED:REQUEST_DIGEST`, as a fraction of one, are compared with the share: the
    same keys get the same release, and a larger share adds requests and takes none away. Raises ValueError for a
    share that cannot be read as a number.
    """
    digest = hashlib.sha256(f"{seed}:{request_digest}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < Fraction(share) * _DENOMINATOR


class DeploymentState(NamedTuple):
    """Releases that could answer after one change. change: its entry. challenger, share, seed: '' without one."""

    change: PackEntry
    stable: str
    challenger: str = ""
    share: str = ""
    seed: str = ""


class DeploymentChecker:
    """Checks the role of an answer against the changes in a book of entries. approvals: checks the users' notes."""

    def __init__(
        self, book: EntryBook, approvals: ApprovalChecker, report_gap: Callable[[PackEntry | None, str], None]
    ) -> None:
        self._book = book
        self._approvals = approvals
        self._report_gap = report_gap

    def check_live(
        self,
        source_entry: PackEntry | None,
        ref: PackRef,
        model: str,
        approvals: list[PackEntry],
        answer: PackEntry | None,
    ) -> None:
        """Check that a release could answer in its role: after its approval, before the answer, not replaced for long.

        answer: None for the story of a release, which must have been stable once, or a challenger.
        """
        states = self._list_states(model)
        role = fact_text(answer, "role") if answer else ""
        if answer and role not in {"stable", "challenger"}:
            self._report_gap(answer, "it does not say in which role its release answered")
            return
        activations = _find_activations(states, ref.name, role)
        if answer:
            activations = [change for change in activations if self._book.effective_from(change) < answer.tree_index]
        if not activations:
            kind = "deployed as a challenger" if role == "challenger" else "made live"
            self._report_gap(source_entry, f"{ref.name!a} was not {kind}{' before the prediction' if answer else ''}")
            return
        first_effect = self._book.effective_from(activations[0])
        if self._approvals.came_late(approvals, first_effect, answer):
            self._report_gap(activations[0], f"{ref.name!a} was made live before it was approved")
        possible = [state for state in states if answer and self._is_possible(state, states, answer)]
        for state in states:
            if state.change in activations or state in possible:
                self._check_signed(state, ref, model)
        if answer:
            self._check_possible(answer, ref, role, possible)

    def _check_signed(self, state: DeploymentState, ref: PackRef, model: str) -> None:
        """Report a gap for a change that a user did not sign, or signed while another release was the stable one."""
        change = state.change
        if change.action == "rollback" and change.subject == ref.name:
            self._approvals.check_rollback(change, model)
        elif change.action in CHALLENGER_ACTIONS:
            self._approvals.check_deployment(change, model)
            if f"release:{fact_text(change, 'stable')}" != state.stable:
                self._report_gap(change, f"it was signed for {fact_text(change, 'stable')!a} as the stable release")

    def _check_possible(self, answer: PackEntry, ref: PackRef, role: str, possible: list[DeploymentState]) -> None:
        """Report a gap unless one of the states that were possible lets this release answer this request."""
        if any(_may_answer(state, ref.name, role, answer) for state in possible):
            return
        holders = {state.stable if role == "stable" else state.challenger for state in possible}
        if ref.name in holders:
            self._report_gap(answer, f"its request belongs to the other role than {role!a}, by the share and the seed")
            return
        changes = [state.change for state in possible]
        last = changes[-1] if changes else None
        if last is not None and role == "challenger":
            self._report_gap(answer, f"{ref.name!a} was no longer the challenger at {last.known_since!a}")
        elif last is not None:
            self._report_gap(
                answer,
                f"{ref.name!a} had been replaced by {last.subject!a} at {last.known_since!a}, before the prediction",
            )

    def _list_states(self, model: str) -> list[DeploymentState]:
        """List the states of a model's deployment, in the order of the log."""
        changes = [
            change
            for action in (*SWITCH_ACTIONS, *CHALLENGER_ACTIONS)
            for change in self._book.completed(action)
            if fact_text(change, "model") == model
        ]
        states: list[DeploymentState] = []
        for change in sorted(changes, key=lambda entry: entry.tree_index):
            stable = states[-1].stable if states else ""
            if change.action in SWITCH_ACTIONS:
                states.append(DeploymentState(change, change.subject))
            elif change.action == "deploy":
                share, seed = fact_text(change, "share"), fact_text(change, "seed")
                states.append(DeploymentState(change, stable, change.subject, share, seed))
            else:
                states.append(DeploymentState(change, stable))
        return states

    def _is_possible(self, state: DeploymentState, states: list[DeploymentState], answer: PackEntry) -> bool:
        """Return whether a state could be in force for an answer: it had begun, and the next was not old yet."""
        if self._book.effective_from(state.change) >= answer.tree_index:
            return False
        later = states[states.index(state) + 1 :]
        return not any(
            change.tree_index < answer.tree_index
            and elapsed_seconds(change.known_since, answer.known_since) > MAX_SWITCH_LAG_SECONDS
            for change in (next_state.change for next_state in later)
        )


def _find_activations(states: list[DeploymentState], release: str, role: str) -> list[PackEntry]:
    """List the changes that gave a release its role; without a role, those that made it stable, or else challenger."""
    changes = [state.change for state in states if state.change.subject == release]
    switches = [change for change in changes if change.action in SWITCH_ACTIONS]
    deployments = [change for change in changes if change.action == "deploy"]
    if role == "challenger":
        return deployments
    return switches if role or switches else deployments


def _may_answer(state: DeploymentState, release: str, role: str, answer: PackEntry) -> bool:
    """Return whether a state lets a release answer a request in a role.

    The API serves the previous release while it cannot load the next one, and the stable one for a challenger that it
    cannot load; the entry of the answer names the missing release in `superseded_by` or `missing_challenger`.
    """
    if role == "stable":
        if state.stable != release:
            return fact_text(answer, "superseded_by") == state.stable
        return (
            not state.challenger
            or fact_text(answer, "missing_challenger") == state.challenger
            or not _selects(state, answer)
        )
    return state.challenger == release and _selects(state, answer)


def _selects(state: DeploymentState, answer: PackEntry) -> bool:
    try:
        return selects_challenger(state.seed, state.share, fact_text(answer, "request_digest"))
    except (ValueError, ZeroDivisionError):
        return False
