"""The figures of simulated days, and which of them have grown more than they may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.machine import median, render_table

WARM_UP_DAYS = 3
"""Days at the beginning that are not compared: servers allocate files, and caches fill."""
WINDOW_DAYS = 10
MAX_RATIO = 1.25
MAX_CPU_RATIO = 1.5
"""Other programs on the machine lengthen the CPU time too."""
SLACK_BYTES = 32 * 1024
"""Bytes a day that are not compared: files are allocated in blocks of 4 KiB, and SQLite has a log beside its pages."""


class GrowthLimit(NamedTuple):
    """What a folder may grow by a day, in KiB, and what grows there. 0: its size stays as it is.

    max_kib: instead, of a folder whose size goes up and down, the largest that it may have.
    """

    kib_per_day: int
    reason: str
    max_kib: int | None = None


class DayFigures(NamedTuple):
    """What one day cost and left.

    cpu_seconds: of all servers and jobs. jobs: of the day's plan by state. stored_jobs: in the queue. folders:
    allocated bytes by folder.
    """

    day: str
    events: str
    seconds: float
    cpu_seconds: float
    jobs: dict[str, int]
    stored_jobs: int
    log_entries: int
    packs: int
    folders: dict[str, int]


class FolderGrowth(NamedTuple):
    """Bytes a day by which a folder grew: in the first days after the warm-up, and in the last. largest: its size."""

    folder: str
    first: float
    last: float
    largest: int


def measure_growth(days: Sequence[DayFigures]) -> list[FolderGrowth]:
    """Return the growth of each folder; empty for fewer days than two windows after the warm-up need."""
    compared = days[WARM_UP_DAYS:]
    window = _choose_window(days)
    if not window:
        return []
    return [
        FolderGrowth(
            folder,
            _grow_per_day(folder, compared[: window + 1]),
            _grow_per_day(folder, compared[-window - 1 :]),
            max(item.folders.get(folder, 0) for item in days),
        )
        for folder in sorted(days[-1].folders)
    ]


def find_excess(growth: Sequence[FolderGrowth], limits: Mapping[str, GrowthLimit]) -> list[str]:
    """Describe each folder without a limit, above its limit, or whose growth has grown."""
    problems: list[str] = []
    for folder, first, last, largest in growth:
        if folder not in limits:
            problems.append(f"{folder}: no limit is stated for this folder")
            continue
        kib_per_day, _, max_kib = limits[folder]
        if max_kib is not None:
            if largest > max_kib * 1024:
                problems.append(f"{folder} had {largest:,} bytes, and may have {max_kib} KiB")
            continue
        if last > kib_per_day * 1024 + SLACK_BYTES:
            problems.append(f"{folder} grows by {last:,.0f} bytes a day, and may by {kib_per_day} KiB")
        if last > MAX_RATIO * max(first, 0) + SLACK_BYTES:
            problems.append(f"the growth of {folder} grows: {first:,.0f} bytes a day at first, {last:,.0f} at the end")
    return problems


def find_slower_days(days: Sequence[DayFigures]) -> list[str]:
    """Describe a growth of the CPU time of a day: the median of the last days against that of the first."""
    window = _choose_window(days)
    if not window:
        return []
    compared = [item.cpu_seconds for item in days[WARM_UP_DAYS:]]
    first, last = median(compared[:window]), median(compared[-window:])
    return (
        [f"a day took {first:.1f} s of CPU at first, and {last:.1f} s at the end"]
        if last > MAX_CPU_RATIO * first
        else []
    )


def render_days(days: Sequence[DayFigures]) -> str:
    """Lay the days out: one line for each."""
    return render_table(
        ("day", "s", "CPU s", "jobs", "queue", "log", "packs", "journals", "ledger", "lake", "all", "events"),
        [
            (
                item.day,
                f"{item.seconds:.0f}",
                f"{item.cpu_seconds:.1f}",
                "+".join(f"{count} {state}" for state, count in sorted(item.jobs.items())),
                item.stored_jobs,
                item.log_entries,
                item.packs,
                *(f"{item.folders.get(folder, 0) // 1024:,}" for folder in ("journals", "ledger", "lake")),
                f"{sum(item.folders.values()) // 1024:,}",
                item.events,
            )
            for item in days
        ],
    )


def render_growth(growth: Sequence[FolderGrowth], limits: Mapping[str, GrowthLimit]) -> str:
    """Lay the growth of the folders out, with what each may grow by and why."""
    return render_table(
        ("KiB a day", "first", "last", "limit", "largest", "what grows"),
        [
            (
                folder,
                f"{first / 1024:.1f}",
                f"{last / 1024:.1f}",
                *_describe_limit(limits.get(folder), largest),
            )
            for folder, first, last, largest in growth
        ],
    )


def _describe_limit(limit: GrowthLimit | None, largest: int) -> tuple[str, str, str]:
    if limit is None:
        return "none", f"{largest // 1024:,}", ""
    if limit.max_kib is not None:
        return "", f"{largest // 1024:,} of {limit.max_kib:,}", limit.reason
    return str(limit.kib_per_day), f"{largest // 1024:,}", limit.reason


def _choose_window(days: Sequence[DayFigures]) -> int:
    """Return how many days a window has; 0 for too few days."""
    window = min(WINDOW_DAYS, (len(days) - WARM_UP_DAYS - 1) // 2)
    return window if window >= 2 else 0


def _grow_per_day(folder: str, days: Sequence[DayFigures]) -> float:
    return (days[-1].folders.get(folder, 0) - days[0].folders.get(folder, 0)) / (len(days) - 1)
