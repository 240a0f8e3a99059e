"""A recorder that writes to a folder, with an in-memory journal that a test can make fail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from wellspring.errors import Unavailable
from wellspring.observe.lineage import LineageWriter
from wellspring.observe.metrics import StepMetrics
from wellspring.observe.recorder import StepRecorder
from wellspring.records.trust import Entry


class TickingClock:
    """A clock that advances a millisecond at each call."""

    def __init__(self) -> None:
        self.instant = datetime(2026, 11, 25, 12, tzinfo=UTC)

    def now(self) -> datetime:
        self.instant += timedelta(milliseconds=1)
        return self.instant


class MemoryJournal:
    """Stores entries in a list; raises `broken` if it is set, like a full disk."""

    def __init__(self, service: str, clock: TickingClock) -> None:
        self.entries: list[Entry] = []
        self.broken: Exception | None = None
        self._service = service
        self._clock = clock

    def append_entry(self, **fields: Any) -> Entry:
        if self.broken:
            raise self.broken
        entry = Entry(
            tenant="acme",
            known_since=self._clock.now(),
            service=self._service,
            sequence=len(self.entries),
            **{**fields, "facts": fields["facts"] or {}},
        )
        self.entries.append(entry)
        return entry


class RecorderHarness:
    """A recorder of the service `worker`, with its journal, metrics and lineage."""

    def __init__(self, folder: Path, *, crash_at: str | None = None) -> None:
        clock = TickingClock()
        self.journal = MemoryJournal("worker", clock)
        self.metrics = StepMetrics(folder / "metrics", "worker")
        self.lineage = LineageWriter(folder / "lineage" / "worker.jsonl", "demo")
        self.step = StepRecorder(
            service="worker",
            actor="service:worker",
            tenant="acme",
            journal=self.journal,  # type: ignore[arg-type]
            metrics=self.metrics,
            lineage=self.lineage,
            clock=clock,
            crash_at=crash_at,
        )

    @property
    def phases(self) -> list[str]:
        return [f"{entry.action} {entry.phase}" for entry in self.journal.entries]


def full_disk() -> Unavailable:
    return Unavailable("the disk is full", fix="free it")
