"""Who stands behind a release: who asked for it, who agreed to it, and with which key each of them signed."""

from __future__ import annotations

from collections.abc import Callable

from wellspring_verify import approvals
from wellspring_verify.canonical import MalformedError
from wellspring_verify.entries import Entry, EntryBook, Ref, fact_text, user_of

GapReporter = Callable[[Entry | None, str], None]
"""Takes down what is missing or does not fit, and at which entry."""


class ApprovalChecker:
    """The people that a book tells of, and their keys: names are compared without regard to capitals."""

    def __init__(self, book: EntryBook, report_gap: GapReporter) -> None:
        self._book = book
        self._report_gap = report_gap

    def valid_approvals(self, ref: Ref, model: str, proposals: list[Entry]) -> list[Entry]:
        """Return the approvals of exactly these bytes that hold. proposals: of the same bytes, whoever made them."""
        for one in proposals:
            self._is_signed(one, ref, approvals.proposal_text, model, "proposed")
        valid: list[Entry] = []
        for one in self._book.completed("approve", ref.name):
            if ref not in one.outputs:
                continue  # Of other bytes under this id: for these it says nothing.
            # Held against what came before it, as the house did: whoever agreed may ask for the same later.
            earlier_proposals = [proposal for proposal in proposals if proposal.tree_index < one.tree_index]
            if user_of(one).casefold() in {
                user_of(earlier_proposal).casefold() for earlier_proposal in earlier_proposals
            }:
                self._report_gap(one, f"{user_of(one)!a} approved {ref.name!a} and had proposed it")
            elif proposals and not earlier_proposals:
                self._report_gap(one, f"{ref.name!a} was approved before it was proposed")
            elif self._is_signed(one, ref, approvals.approval_text, model, "approved") and self._has_distinct_key(
                one, earlier_proposals
            ):
                valid.append(one)
        return valid

    def _is_signed(
        self, entry: Entry, ref: Ref, note_text: Callable[[str, str, str], bytes], model: str, action_word: str
    ) -> bool:
        """Say whether the person whom an entry names signed this release with the key enrolled for that name."""
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
            self._report_gap(entry, f"the signature of {user!a}, who {action_word} {ref.name!a}, does not hold")
        return is_valid

    def _has_distinct_key(self, approval: Entry, proposals: list[Entry]) -> bool:
        proposer_keys = {self._enrolled_keys(one) for one in proposals}
        if proposer_keys & {self._enrolled_keys(approval)}:
            self._report_gap(
                approval, f"{user_of(approval)!a} has the key of the one who proposed it: they are one person"
            )
            return False
        return True

    def _enrolled_key(self, entry: Entry, context: str) -> str | None:
        keys = self._enrolled_keys(entry)
        if not keys:
            self._report_gap(entry, f"the pack does not tell of the enrolment of {user_of(entry)!a}, {context}")
        if len(keys) > 1:
            self._report_gap(entry, f"{user_of(entry)!a}, {context}, was enrolled with {len(keys)} keys")
        return next(iter(keys)) if len(keys) == 1 else None

    def _enrolled_keys(self, entry: Entry) -> frozenset[str]:
        enrollments = self._book.completed("enroll", f"user:{user_of(entry)}")
        return frozenset(fact_text(one, "public_key") for one in enrollments if one.tree_index < entry.tree_index)
