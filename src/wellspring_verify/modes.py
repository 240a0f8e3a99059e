"""The mode of a project, as the `mode` entries of the log say: `development` (one person) or `governed` (two).

A log without an entry of a mode is governed, and a governed project stays governed. So a pack that leaves such entries
out is held against the stricter rules.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from wellspring_verify.entries import EntryBook, PackEntry, fact_text

DEVELOPMENT: Literal["development"] = "development"


class ModePeriod(NamedTuple):
    """The mode in force at one tree index. start: index of the entry that ended development; -1 if none did."""

    mode: Literal["development", "governed"]
    start: int = -1

    def includes(self, tree_index: int) -> bool:
        """Return whether an act at this index counts: it is not one of development in a governed project."""
        return tree_index > self.start


def find_mode_period(book: EntryBook, tree_index: int | None = None) -> ModePeriod:
    """Return the mode in force before a tree index; None: after all entries of the book."""
    was_development = False
    for entry in book.completed("mode"):
        if tree_index is not None and entry.tree_index >= tree_index:
            break
        if fact_text(entry, "mode") != DEVELOPMENT:
            return ModePeriod("governed", entry.tree_index if was_development else -1)
        was_development = True
    return ModePeriod(DEVELOPMENT if was_development else "governed")


def find_answer_period(book: EntryBook, answer: PackEntry | None) -> ModePeriod:
    """Return the mode in which a prediction was made; None: the one in force after all entries of the book."""
    if answer is not None and fact_text(answer, "mode") == DEVELOPMENT:
        return ModePeriod(DEVELOPMENT)
    return find_mode_period(book, None if answer is None else answer.tree_index)


def describe_development(book: EntryBook) -> str:
    """Say why a pack is evidence of development; '' for one of a governed project."""
    if any(fact_text(entry, "mode") == DEVELOPMENT for entry in book.completed("predict")):
        return "its prediction was made in development"
    return "its project is in development" if find_mode_period(book).mode == DEVELOPMENT else ""
