"""Measure the journal: durable entries per second and the wait for each, beside raw appends with fdatasync.

`python -m benchmarks.journal`. Each figure is the median of three rounds; raw and journal take turns in each round, on
the same file system, with lines of the same length. Raw is one thread that appends to a file and calls fdatasync.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, median, percentile, render_table, write_result
from tests.builders.journal_keys import journal_key
from wellspring.records.clock import SystemClock
from wellspring.records.trust import Ref
from wellspring.trust.ledger.journal import Journal, list_segments

ROUNDS = 3
ENTRIES = 2_000
THREADS = (1, 4, 16, 64)
DIGEST = "5a" * 32


def main() -> int:
    """Measure, print the table, and store the figures."""
    with tempfile.TemporaryDirectory(prefix="ws-bench-") as name:
        folder = Path(name)
        described = describe_machine(folder)
        rounds: dict[str, list[dict[str, float]]] = {}
        for turn in range(ROUNDS):
            for threads in THREADS:
                place = folder / f"{turn}-{threads}"
                rounds.setdefault(f"journal, {threads} thread{'s' * (threads > 1)}", []).append(
                    _journal(place, threads)
                )
                if threads == 1:
                    size = _line_length(place)
                    rounds.setdefault("raw append + fdatasync, 1 thread", []).append(_raw(folder / f"raw-{turn}", size))
    figures = {
        what: {key: median(item[key] for item in figures_by_round) for key in figures_by_round[0]}
        for what, figures_by_round in rounds.items()
    }
    raw = figures["raw append + fdatasync, 1 thread"]["per_second"]
    print(f"the journal: {ENTRIES} durable entries of about {size} bytes, medians of {ROUNDS}")
    print(
        render_table(
            ("", "entries/s", "of raw", "p50 ms", "p99 ms"),
            [
                (
                    what,
                    f"{item['per_second']:,.0f}",
                    f"{item['per_second'] / raw:.2f}x",
                    f"{item['p50_ms']:.3f}",
                    f"{item['p99_ms']:.3f}",
                )
                for what, item in figures.items()
            ],
        )
    )
    path = write_result(
        "journal",
        {"machine": described, "entries": ENTRIES, "bytes": size, "rounds": ROUNDS, "figures": figures, "all": rounds},
    )
    print(
        f"machine: {described['cores']} x {described['processor']}, {described['file_system']}; all figures in {path}"
    )
    return 0


def _journal(folder: Path, threads: int) -> dict[str, float]:
    journal = Journal(folder, journal_key("worker"), tenant="wellspring-benefits", clock=SystemClock())

    def append(number: int) -> None:
        journal.append_entry(
            actor="service:bench",
            action="admit",
            phase="done",
            subject=f"drop:clearinghouse-{number:012x}",
            inputs=(Ref(name=f"original:clearinghouse-{number:012x}", digest=DIGEST),),
            outputs=(Ref(name=f"rows:clearinghouse-{number:012x}/0", digest=DIGEST),),
            facts={"received": 150_000, "admitted": 149_990, "quarantined": 10, "masked": 571},
            trace="0" * 32,
        )

    try:
        return _many(append, threads)
    finally:
        journal.close()


def _raw(path: Path, size: int) -> dict[str, float]:
    line = b"x" * (size - 1) + b"\n"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append(_: int) -> None:
        os.write(file, line)
        os.fdatasync(file)

    try:
        return _many(append, 1)
    finally:
        os.close(file)


def _many(append: Callable[[int], None], threads: int) -> dict[str, float]:
    """Append ENTRIES times from so many threads; each waits for its entry before it writes the next."""
    waits: list[float] = []
    start = threading.Barrier(threads + 1)

    def work(first: int) -> None:
        thread_waits: list[float] = []
        start.wait()
        for number in range(first, ENTRIES, threads):
            before = time.perf_counter()
            append(number)
            thread_waits.append(time.perf_counter() - before)
        waits.extend(thread_waits)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    took = time.perf_counter() - began
    if len(waits) != ENTRIES:
        raise RuntimeError(f"{ENTRIES - len(waits)} of {ENTRIES} appends failed; there is no figure")
    return {
        "per_second": ENTRIES / took,
        "p50_ms": percentile(waits, 0.5) * 1e3,
        "p99_ms": percentile(waits, 0.99) * 1e3,
    }


def _line_length(folder: Path) -> int:
    lines: list[Any] = list_segments(folder / "bench")[0].path.read_bytes().splitlines(keepends=True)
    return int(median(len(line) for line in lines))


if __name__ == "__main__":
    sys.exit(main())
