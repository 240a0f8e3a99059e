"""Describe the machine of a measurement, and store results."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "wellspring",
    "pyarrow",
    "pyiceberg",
    "polars",
    "duckdb",
    "asyncssh",
    "cryptography",
    "pandas",
    "great-expectations",
)


def describe_machine(folder: Path) -> dict[str, Any]:
    """Describe this machine, the file system under `folder`, and the versions of what is measured."""
    return {
        "processor": _line("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": _file_system(folder),
        "load_before": round(os.getloadavg()[0], 2),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def time_call(work: Callable[[], Any]) -> float:
    """Return how many seconds one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that `share` of all are at or below (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Iterable[float]) -> float:
    """Return the middle value."""
    return statistics.median(list(values))


def render_table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """Lay rows out in columns: the first to the left, the others to the right."""
    lines = [tuple(str(cell) for cell in row) for row in (head, *rows)]
    wide = [max(len(line[place]) for line in lines) for place in range(len(head))]
    lines.insert(1, tuple("-" * width for width in wide))
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, wide, strict=True))
        )
        for line in lines
    )


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Write one benchmark's result as JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _line(path: str, word: str) -> str:
    with suppress(OSError), open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith(word):
                return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    result = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"
