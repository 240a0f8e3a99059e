"""An index of ledger entries in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.builders.recording_step import RecordingStep
from wellspring.records.trust import Entry, IndexedEntry


class Index:
    """The ledger's index over what the step has recorded."""

    def __init__(self, step: RecordingStep) -> None:
        self.step = step
        self._by_subject: dict[str, list[int]] = {}
        self._by_action: dict[str, list[int]] = {}
        self._counted = 0
        self._first: Entry | None = None

    def list_entries(
        self, *, subject: str | None = None, action: str | None = None, phase: str | None = None, after: int = 0
    ) -> list[IndexedEntry]:
        entries = self.step.entries
        if len(entries) < self._counted or (entries and entries[0] is not self._first):
            # A test has put an older or another ledger in its place.
            self._by_subject, self._by_action, self._counted = {}, {}, 0
        self._first = entries[0] if entries else None
        for number in range(self._counted, len(entries)):
            self._by_subject.setdefault(entries[number].subject, []).append(number)
            self._by_action.setdefault(entries[number].action, []).append(number)
        self._counted = len(entries)
        numbers: Iterable[int] = range(after, len(entries))
        if subject is not None:
            numbers = self._by_subject.get(subject, [])
        elif action is not None:
            numbers = self._by_action.get(action, [])
        return [
            IndexedEntry(index=number, entry=entries[number])
            for number in numbers
            if number >= after and action in (None, entries[number].action) and phase in (None, entries[number].phase)
        ]

    def read_entries(self, tree_indexes: Iterable[int]) -> list[IndexedEntry]:
        count = self.count_entries()
        return [IndexedEntry(index=index, entry=self.step.entries[index]) for index in tree_indexes if index < count]

    def count_entries(self) -> int:
        return len(self.step.entries)

    def list_open_intents(self) -> list[IndexedEntry]:
        return self.step.open_intents()

    def iter_entries(
        self, *, subject: str | None = None, action: str | None = None, phase: str | None = None, after: int = 0
    ) -> Iterator[IndexedEntry]:
        return iter(self.list_entries(subject=subject, action=action, phase=phase, after=after))
