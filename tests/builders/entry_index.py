"""An index of ledger entries in memory."""

from __future__ import annotations

from collections.abc import Iterable

from tests.builders.recording_step import RecordingStep
from wellspring.records.trust import IndexedEntry


class Index:
    """The ledger's index over what the step has recorded."""

    def __init__(self, step: RecordingStep) -> None:
        self.step = step

    def list_entries(
        self, *, subject: str | None = None, action: str | None = None, phase: str | None = None, after: int = 0
    ) -> list[IndexedEntry]:
        requests = {"subject": subject, "action": action, "phase": phase}
        arguments = {name: value for name, value in requests.items() if value is not None}
        entries = self.step.entries
        return [
            IndexedEntry(index=instant, entry=entries[instant])
            for instant in range(after, len(entries))
            if all(getattr(entries[instant], name) == value for name, value in arguments.items())
        ]

    def read_entries(self, tree_indexes: Iterable[int]) -> list[IndexedEntry]:
        count = self.count_entries()
        return [IndexedEntry(index=index, entry=self.step.entries[index]) for index in tree_indexes if index < count]

    def count_entries(self) -> int:
        return len(self.step.entries)

    def list_open_intents(self) -> list[IndexedEntry]:
        return self.step.open_intents()
