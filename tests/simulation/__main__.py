"""`python -m tests.simulation`: thirty days of a project on its real servers, in minutes.

Worker, enclave, sequencer, witness and supervisor read a clock that this program sets; OpenBao, sockets and
certificates stay in real time. Exit 1 if a day was not as it must be, if a pack or the ledger does not verify, if the
queue does not end empty, or if a folder grows more than its limit, or at the end more than at first.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe_machine, write_result
from tests.simulation.days import EVENTS, run_simulation
from tests.simulation.figures import (
    DayFigures,
    GrowthLimit,
    find_excess,
    find_slower_days,
    measure_growth,
    render_days,
    render_growth,
)

DAYS = 30
MAX_SECONDS = 900
"""For thirty days on two cores with nothing else to do."""
MAX_LOAD = 1.0
"""With a higher load before the start, the machine has something else to do, and the time is printed only."""
LIMITS = {
    "enclave": GrowthLimit(0, "originals, which their retention of 7 days removes"),
    "incidents": GrowthLimit(0, "one file for each incident"),
    "jobs": GrowthLimit(48, "the queue (10,000 jobs) and the events of each job"),
    "journals": GrowthLimit(20, "one line for each entry"),
    "lake": GrowthLimit(140, "data files, one edition a publish, the metadata of each snapshot"),
    "ledger": GrowthLimit(64, "entries, tiles and the index"),
    "partial_tiles": GrowthLimit(0, "one for each checkpoint, until the tile has 256 entries", max_kib=24 * 1024),
    "lineage": GrowthLimit(56, "one OpenLineage event for each step"),
    "logs": GrowthLimit(8, "what servers print"),
    "metrics": GrowthLimit(0, "one file for each service"),
    "mlflow": GrowthLimit(0, "nothing: the project has no models"),
    "models": GrowthLimit(0, "nothing: the project has no models"),
    "openbao": GrowthLimit(512, "its audit log; a secret id and a token for each job, until they expire"),
    "packs": GrowthLimit(84, "the pack of each drop"),
    "pg_wal": GrowthLimit(0, "segments that are used again", max_kib=48 * 1024),
    "postgres": GrowthLimit(48, "one row for each drop"),
    "tmp": GrowthLimit(0, "what a running job writes"),
    "valkey": GrowthLimit(0, "nothing: the project has no features"),
    "vendor": GrowthLimit(8, "the drops: the vendor removes none"),
    "witness": GrowthLimit(0, "the newest checkpoint"),
}
"""By folder: what a day with one drop of 96 rows, four jobs and one pack adds."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line of this file."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Run simulated days of a project.")
    parser.add_argument("--days", type=int, default=DAYS, help=f"number of days (default {DAYS})")
    options = parser.parse_args(argv)
    # Stop the servers also on SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine, started = describe_machine(Path(tempfile.gettempdir())), time.monotonic()
    # After an event there is a day that completes what it left.
    events = {name: day for name, day in EVENTS.items() if day < options.days}
    days = run_simulation(options.days, events, print_day)
    growth = measure_growth(days.figures)
    problems = [*days.problems, *find_excess(growth, LIMITS), *find_slower_days(days.figures)]
    seconds = round(time.monotonic() - started)
    if options.days <= DAYS and seconds > MAX_SECONDS and machine["load_before"] <= MAX_LOAD:
        problems.append(f"it took {seconds} s, and may take {MAX_SECONDS}")
    print(render_days(days.figures))
    if growth:
        print(f"\n{render_growth(growth, LIMITS)}")
    for problem in problems:
        print(f"WRONG {problem}", file=sys.stderr)
    summary = {
        "days": len(days.figures),
        "seconds": seconds,
        "load_before": machine["load_before"],
        "cpu_seconds": round(sum(item.cpu_seconds for item in days.figures)),
        "jobs": days.figures[-1].stored_jobs,
        "log_entries": days.figures[-1].log_entries,
        "verified_packs": sum(item.packs for item in days.figures),
        "problems": len(problems),
        "growth": {item.folder: [round(item.first), round(item.last)] for item in growth},
    }
    if options.days == DAYS:
        figures = [item._asdict() for item in days.figures]
        write_result("simulation", {"machine": machine, "figures": figures, "found": problems, **summary})
    print(json.dumps(summary))
    return 1 if problems else 0


def print_day(figures: DayFigures) -> None:
    """Print the progress: one line for a day."""
    print(
        f"  {figures.day} {figures.seconds:5.1f} s, CPU {figures.cpu_seconds:4.1f} s  {figures.jobs} {figures.events}",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
