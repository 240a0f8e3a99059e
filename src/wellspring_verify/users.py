"""Check the proposals, approvals and rollbacks of releases: who signed them, and with which enrolled key."""

from __future__ import annotations

from collections.abc import Callable

from wellspring_verify import approvals
from wellspring_verify.canonical import MalformedError
from wellspring_verify.entries import EntryBook, PackEntry, PackRef, fact_text, user_of
from wellspring_verify.modes import DEVELOPMENT, find_answer_period, find_mode_period

GapReporter = Callable[[PackEntry | None, str], None]
"""Called with the entry that has a gap (None: the pack) and a message."""


class ApprovalChecker:
    """The users in a book of entries, and their keys. Names are compared case-insensitively."""

    def __init__(self, book: EntryBook, report_gap: GapReporter) -> None:
        self._book = book
        self._report_gap = report_gap

    def valid_approvals(
        self, ref: PackRef, model: str, proposals: list[PackEntry], answer: PackEntry | None = None
    ) -> list[PackEntry]:
        """Return the valid approvals of exactly these bytes. proposals: all proposals of the same bytes.

        An approval of development counts for what was predicted in development only. answer: None for the end of the
        pack.
        """
        for proposal in proposals:
            self._is_signed(proposal, ref, approvals.proposal_text, model, "proposed")
        valid: list[PackEntry] = []
        for approval in self._book.completed("approve", ref.name):
            if ref not in approval.outputs:
                continue  # It approved other bytes under this id.
            period = find_mode_period(self._book, approval.tree_index)
            # Only earlier proposals count, as on the platform: an approver may propose the same release later.
            earlier_proposals = [
                proposal for proposal in proposals if period.start < proposal.tree_index < approval.tree_index
            ]
            if period.mode == DEVELOPMENT:
                # One person is enough.
                if earlier_proposals and self._is_signed(approval, ref, approvals.approval_text, model, "approved"):
                    valid.append(approval)
            elif user_of(approval).casefold() in {user_of(proposal).casefold() for proposal in earlier_proposals}:
                self._report_gap(approval, f"{user_of(approval)!a} approved {ref.name!a} and had proposed it")
            elif proposals and not earlier_proposals:
                self._report_gap(approval, f"{ref.name!a} was approved before it was proposed")
            elif self._is_signed(approval, ref, approvals.approval_text, model, "approved") and self._has_distinct_key(
                approval, earlier_proposals
            ):
                valid.append(approval)
        return [approval for approval in valid if self._counts_for(approval, answer)]

    def _counts_for(self, approval: PackEntry, answer: PackEntry | None) -> bool:
        """Return whether an approval counts for a prediction, or at the end of the pack."""
        start = find_answer_period(self._book, answer).start
        # A release that went live in development is live before its approval; the prediction still comes after it.
        is_early = start < 0 or answer is None or approval.tree_index < answer.tree_index
        return approval.tree_index > start and is_early

    def came_late(self, approvals: list[PackEntry], effective_from: int, answer: PackEntry | None) -> bool:
        """Return whether a release went live, at a tree index, before any of its approvals.

        One that went live in development is approved again while it is live, after the project became governed.
        """
        is_governed = effective_from > find_answer_period(self._book, answer).start
        return is_governed and bool(approvals) and min(entry.tree_index for entry in approvals) >= effective_from

    def check_mode(self, answer: PackEntry) -> None:
        """Report a gap if a prediction does not say that it was made in development."""
        in_force = find_mode_period(self._book, answer.tree_index).mode
        if in_force == DEVELOPMENT != fact_text(answer, "mode"):
            self._report_gap(answer, "its project was in development, and it does not say so")

    def check_rollback(self, rollback: PackEntry, model: str) -> None:
        """Report a gap unless the user of a rollback signed it with the enrolled key."""
        user = user_of(rollback)
        public_key = self._enrolled_key(rollback, f"who rolled {model!a} back")
        if public_key is None:
            return
        try:
            target = fact_text(rollback, "to_release")
            message = approvals.rollback_text(
                model, fact_text(rollback, "previous_release"), fact_text(rollback, "signed_at"), target
            )
            if target and rollback.subject != f"release:{target}":
                self._report_gap(rollback, f"{user!a} signed a rollback to {target!a}, and it restored another release")
            is_valid = approvals.verify_note_signature(public_key, fact_text(rollback, "signature"), message)
        except MalformedError:
            is_valid = False
        if not is_valid:
            self._report_gap(rollback, f"the signature of {user!a}, who rolled {model!a} back, is invalid")

    def check_deployment(self, change: PackEntry, model: str) -> None:
        """Report a gap unless the user of a `deploy` or `undeploy` entry signed it with the enrolled key."""
        user, challenger = user_of(change), change.subject.partition(":")[2]
        public_key = self._enrolled_key(change, f"who changed the challenger of {model!a}")
        if public_key is None:
            return
        stable, signed_at = fact_text(change, "stable"), fact_text(change, "signed_at")
        try:
            if change.action == "deploy":
                shares = (fact_text(change, name) for name in ("mode", "share", "seed"))
                message = approvals.deployment_text(
                    model, approvals.deployment_line(stable, challenger, *shares), signed_at
                )
            else:
                message = approvals.undeployment_text(model, approvals.undeployment_line(stable, challenger), signed_at)
            is_valid = approvals.verify_note_signature(public_key, fact_text(change, "signature"), message)
        except MalformedError:
            is_valid = False
        if not is_valid:
            self._report_gap(change, f"the signature of {user!a}, who changed the challenger of {model!a}, is invalid")

    def _is_signed(
        self, entry: PackEntry, ref: PackRef, note_text: Callable[[str, str, str], bytes], model: str, action_word: str
    ) -> bool:
        """Return whether the user of an entry signed this release with the enrolled key; report a gap if not."""
        user = user_of(entry)
        public_key = self._enrolled_key(entry, f"who {action_word} {ref.name!a}")
        if public_key is None:
            return False
        try:
            message = note_text(model, ref.name.partition(":")[2], ref.digest or "")
            is_valid = approvals.verify_note_signature(public_key, fact_text(entry, "signature"), message)
        except MalformedError:
            is_valid = False
        if not is_valid:
            self._report_gap(entry, f"the signature of {user!a}, who {action_word} {ref.name!a}, is invalid")
        return is_valid

    def _has_distinct_key(self, approval: PackEntry, proposals: list[PackEntry]) -> bool:
        proposer_keys = {self._enrolled_keys(proposal) for proposal in proposals}
        if proposer_keys & {self._enrolled_keys(approval)}:
            self._report_gap(approval, f"{user_of(approval)!a} has the same key as a proposer: they are one person")
            return False
        return True

    def _enrolled_key(self, entry: PackEntry, context: str) -> str | None:
        keys = self._enrolled_keys(entry)
        if not keys:
            self._report_gap(entry, f"the pack has no enrollment of {user_of(entry)!a}, {context}")
        if len(keys) > 1:
            self._report_gap(entry, f"{user_of(entry)!a}, {context}, was enrolled with {len(keys)} keys")
        return next(iter(keys)) if len(keys) == 1 else None

    def _enrolled_keys(self, entry: PackEntry) -> frozenset[str]:
        enrollments = self._book.completed("enroll", f"user:{user_of(entry)}")
        # A key that was enrolled in development signs nothing in a governed project.
        start = find_mode_period(self._book, entry.tree_index).start
        return frozenset(
            fact_text(enrollment, "public_key")
            for enrollment in enrollments
            if start < enrollment.tree_index < entry.tree_index
        )
