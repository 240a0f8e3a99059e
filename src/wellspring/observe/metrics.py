"""Write one Prometheus text file per service: number of steps by outcome, and their durations."""

from __future__ import annotations

import importlib
import os
import threading
from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.records.trust import EntryPhase

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

STEPS_METRIC = "wellspring_steps_total"
SECONDS_METRIC = "wellspring_step_seconds"
BUCKET_BOUNDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, float("inf"))
"""Upper bounds of the histogram's buckets, in seconds."""
WRITE_INTERVAL = timedelta(seconds=1)
"""Minimum interval between two writes of the file while predictions are counted in memory."""


class StepMetrics:
    """Count steps in a separate registry and write them to `<folder>/<service>.prom`.

    The process of a command lives for seconds, so the counts continue from the file of the previous process. The
    metric families are built here because Counter and Histogram can only start from zero. As for the journal, only
    one process per service may write at a time.
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
        self._written_at: datetime | None = None
        self._is_dirty = False
        self._load_previous()
        self.registry.register(self)

    def count_step(self, action: str, phase: EntryPhase, seconds: float | None) -> None:
        """Count one finished step and replace the file. seconds: None if not measured. Raises OSError."""
        with self._lock:
            self._add_step(action, phase, seconds)
            self._write_file()

    def count_batched(self, action: str, phase: EntryPhase, seconds: float | None, *, counted_at: datetime) -> None:
        """Count one of many steps in memory; replace the file at most once a second. Raises OSError."""
        with self._lock:
            self._add_step(action, phase, seconds)
            if self._written_at is None or abs(counted_at - self._written_at) >= WRITE_INTERVAL:
                self._write_file()
                self._written_at = counted_at

    def flush(self) -> None:
        """Replace the file if there are unwritten counts. Raises OSError."""
        with self._lock:
            if self._is_dirty:
                self._write_file()

    def collect(self) -> Iterable[Metric]:
        """Yield the two metric families; prometheus_client calls this."""
        from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily

        steps = CounterMetricFamily(STEPS_METRIC, "Steps by how they ended.", labels=["service", "action", "phase"])
        for (action, phase), value in sorted(self._steps.items()):
            steps.add_metric([self._service, action, phase], value)
        yield steps
        seconds = HistogramMetricFamily(SECONDS_METRIC, "How long steps took.", labels=["service", "action"])
        for action, counts in sorted(self._buckets.items()):
            total = 0.0
            cumulative: list[tuple[str, float]] = []
            for bound, value in zip(BUCKET_BOUNDS, counts, strict=True):
                total += value
                cumulative.append(("+Inf" if bound == float("inf") else str(bound), total))
            seconds.add_metric([self._service, action], buckets=cumulative, sum_value=self._sums[action])
        yield seconds

    def _add_step(self, action: str, phase: EntryPhase, seconds: float | None) -> None:
        self._is_dirty = True
        self._steps[action, phase] = self._steps.get((action, phase), 0.0) + 1
        if seconds is not None:
            buckets = self._buckets.setdefault(action, [0.0] * len(BUCKET_BOUNDS))
            buckets[bisect_left(BUCKET_BOUNDS, seconds)] += 1
            self._sums[action] = self._sums.get(action, 0.0) + seconds

    def _write_file(self) -> None:
        from prometheus_client import generate_latest

        self._replace_file(generate_latest(self.registry))
        self._is_dirty = False

    def _replace_file(self, text: bytes) -> None:
        # One name for the new file, so that a killed process leaves nothing that the next one does not take over.
        # No fsync: after a power cut the ledger still has the facts, and this is a view of them.
        temporary_path = self.path.with_name(f".{self.path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary_path, flags, 0o640)
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(temporary_path, flags, 0o640)
        try:
            written = os.write(descriptor, text)
        finally:
            os.close(descriptor)
        if written != len(text):
            raise OSError("the metrics file was cut short")
        os.replace(temporary_path, self.path)

    def _load_previous(self) -> None:
        from prometheus_client.parser import text_string_to_metric_families

        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        try:
            samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        except ValueError:
            # Another program changed the file. The ledger holds the facts, so the counts restart from zero.
            return
        previous_counts: dict[str, float] = {}
        for name, labels, value, *_ in samples:
            action = labels.get("action", "")
            if name == STEPS_METRIC:
                self._steps[action, labels.get("phase", "")] = value
            elif name == f"{SECONDS_METRIC}_sum":
                self._sums[action] = value
            elif name == f"{SECONDS_METRIC}_bucket" and float(labels["le"]) in BUCKET_BOUNDS:
                counts = self._buckets.setdefault(action, [0.0] * len(BUCKET_BOUNDS))
                counts[BUCKET_BOUNDS.index(float(labels["le"]))] = value - previous_counts.get(action, 0.0)
                previous_counts[action] = value
        for action in self._buckets:
            self._sums.setdefault(action, 0.0)


def keep_metrics_in_memory() -> None:
    """Keep the metrics of this process in memory, whatever a later import writes to the environment."""
    importlib.import_module("prometheus_client.values")
