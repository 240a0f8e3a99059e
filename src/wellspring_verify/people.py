"""Who stands behind a release: who asked for it, who agreed to it, and with which key each of them signed."""

from __future__ import annotations

from collections.abc import Callable

from wellspring_verify import approvals
from wellspring_verify.canonical import Malformed
from wellspring_verify.entries import Book, Entry, Ref, person, text

Miss = Callable[[Entry | None, str], None]
"""Takes down what is missing or does not fit, and at which entry."""


class People:
    """The people that a book tells of, and their keys: names are compared without regard to capitals."""

    def __init__(self, book: Book, miss: Miss) -> None:
        self._book = book
        self._miss = miss

    def sound(self, ref: Ref, model: str, proposals: list[Entry]) -> list[Entry]:
        """Return the approvals of exactly these bytes that hold. proposals: of the same bytes, whoever made them."""
        for one in proposals:
            self._signed(one, ref, approvals.proposal, model, "proposed")
        found: list[Entry] = []
        for one in self._book.done("approve", ref.name):
            if ref not in one.outputs:
                continue  # Of other bytes under this id: for these it says nothing.
            # Held against what came before it, as the house did: whoever agreed may ask for the same later.
            early = [each for each in proposals if each.place < one.place]
            if person(one).casefold() in {person(each).casefold() for each in early}:
                self._miss(one, f"{person(one)!a} approved {ref.name!a} and had proposed it")
            elif proposals and not early:
                self._miss(one, f"{ref.name!a} was approved before it was proposed")
            elif self._signed(one, ref, approvals.text, model, "approved") and self._other_key(one, early):
                found.append(one)
        return found

    def _signed(self, entry: Entry, ref: Ref, note: Callable[[str, str, str], bytes], model: str, did: str) -> bool:
        """Say whether the person whom an entry names signed this release with the key enrolled for that name."""
        who = person(entry)
        public = self._public(entry, f"who {did} {ref.name!a}")
        if public is None:
            return False
        try:
            message = note(model, ref.name.partition(":")[2], ref.digest or "")
            right = approvals.holds(public, text(entry, "signature"), message)
        except Malformed:
            right = False
        if not right:
            self._miss(entry, f"the signature of {who!a}, who {did} {ref.name!a}, does not hold")
        return right

    def _other_key(self, approval: Entry, proposals: list[Entry]) -> bool:
        theirs = {self._enrolled(one) for one in proposals}
        if theirs & {self._enrolled(approval)}:
            self._miss(approval, f"{person(approval)!a} has the key of the one who proposed it: they are one person")
            return False
        return True

    def _public(self, entry: Entry, why: str) -> str | None:
        keys = self._enrolled(entry)
        if not keys:
            self._miss(entry, f"the pack does not tell of the enrolment of {person(entry)!a}, {why}")
        if len(keys) > 1:
            self._miss(entry, f"{person(entry)!a}, {why}, was enrolled with {len(keys)} keys")
        return next(iter(keys)) if len(keys) == 1 else None

    def _enrolled(self, entry: Entry) -> frozenset[str]:
        told = self._book.done("enrol", f"person:{person(entry)}")
        return frozenset(text(one, "public") for one in told if one.place < entry.place)
