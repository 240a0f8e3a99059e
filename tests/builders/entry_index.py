"""An index of ledger entries in memory."""

from __future__ import annotations

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
        return [
            IndexedEntry(index=instant, entry=entry)
            for instant, entry in enumerate(self.step.entries)
            if instant >= after and all(getattr(entry, name) == value for name, value in arguments.items())
        ]

    def list_open_intents(self) -> list[IndexedEntry]:
        return self.step.open_intents()
