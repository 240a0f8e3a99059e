"""How many steps, how they ended and how long they took: a Prometheus text file per service."""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.records.trust import Phase

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

STEPS = "wellspring_steps_total"
SECONDS = "wellspring_step_seconds"
BOUNDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, float("inf"))
"""Upper bounds of the histogram's buckets, in seconds."""
EVERY = timedelta(seconds=1)
"""How often the file is written while answers are only counted."""


class Metrics:
    """Counts steps in a registry of its own, and keeps `<folder>/<service>.prom` up to date.

    A command's process lives for seconds, so counting goes on from the file that the last one left: otherwise every
    command would look like the first. (That is why the families are built here and not by Counter and Histogram,
    which can only start from zero.) One process a service at a time, as for its journal.
    """

    def __init__(self, folder: Path, service: str) -> None:
        from prometheus_client import CollectorRegistry

        self.path = folder / f"{service}.prom"
        self.registry: CollectorRegistry = CollectorRegistry(auto_describe=False)
        self._service = service
        self._steps: dict[tuple[str, str], float] = {}
        self._buckets: dict[str, list[float]] = {}
        self._sums: dict[str, float] = {}
        self._lock = threading.Lock()
        self._written: datetime | None = None
        self._waiting = False
        self._resume()
        self.registry.register(self)

    def count(self, action: str, phase: Phase, seconds: float | None) -> None:
        """Count one step that ended, and replace the file. seconds: None if nobody timed it. Raises OSError."""
        with self._lock:
            self._add(action, phase, seconds)
            self._write()

    def tally(self, action: str, phase: Phase, seconds: float | None, *, at: datetime) -> None:
        """Count one of many, at an instant; the file follows at most once a second. Raises OSError."""
        with self._lock:
            self._add(action, phase, seconds)
            if self._written is None or abs(at - self._written) >= EVERY:
                self._write()
                self._written = at

    def flush(self) -> None:
        """Replace the file if it lacks something. Raises OSError."""
        with self._lock:
            if self._waiting:
                self._write()

    def collect(self) -> Iterable[Metric]:
        """Hand the two families to the registry."""
        from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily

        steps = CounterMetricFamily(STEPS, "Steps by how they ended.", labels=["service", "action", "phase"])
        for (action, phase), value in sorted(self._steps.items()):
            steps.add_metric([self._service, action, phase], value)
        yield steps
        seconds = HistogramMetricFamily(SECONDS, "How long steps took.", labels=["service", "action"])
        for action, counts in sorted(self._buckets.items()):
            total = 0.0
            cumulated: list[tuple[str, float]] = []
            for bound, value in zip(BOUNDS, counts, strict=True):
                total += value
                cumulated.append(("+Inf" if bound == float("inf") else str(bound), total))
            seconds.add_metric([self._service, action], buckets=cumulated, sum_value=self._sums[action])
        yield seconds

    def _add(self, action: str, phase: Phase, seconds: float | None) -> None:
        self._waiting = True
        self._steps[action, phase] = self._steps.get((action, phase), 0.0) + 1
        if seconds is not None:
            buckets = self._buckets.setdefault(action, [0.0] * len(BOUNDS))
            buckets[bisect_left(BOUNDS, seconds)] += 1
            self._sums[action] = self._sums.get(action, 0.0) + seconds

    def _write(self) -> None:
        from prometheus_client import generate_latest

        self._replace(generate_latest(self.registry))
        self._waiting = False

    def _replace(self, text: bytes) -> None:
        # One name for the new file, so that a killed process leaves nothing that the next one does not take over.
        # No fsync: after a power cut the ledger still has the facts, and this is a view of them.
        beside = self.path.with_name(f".{self.path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            handle = os.open(beside, flags, 0o644)
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(beside, flags, 0o644)
        try:
            written = os.write(handle, text)
        finally:
            os.close(handle)
        if written != len(text):
            raise OSError("the metrics file was cut short")
        os.replace(beside, self.path)

    def _resume(self) -> None:
        from prometheus_client.parser import text_string_to_metric_families

        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        try:
            samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        except ValueError:
            # Not ours any more: metrics are a view, the ledger has the facts; start from zero, as after `clean`.
            return
        before: dict[str, float] = {}
        for name, labels, value, *_ in samples:
            action = labels.get("action", "")
            if name == STEPS:
                self._steps[action, labels.get("phase", "")] = value
            elif name == f"{SECONDS}_sum":
                self._sums[action] = value
            elif name == f"{SECONDS}_bucket" and float(labels["le"]) in BOUNDS:
                counts = self._buckets.setdefault(action, [0.0] * len(BOUNDS))
                counts[BOUNDS.index(float(labels["le"]))] = value - before.get(action, 0.0)
                before[action] = value
        for action in self._buckets:
            self._sums.setdefault(action, 0.0)
