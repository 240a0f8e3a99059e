"""Measure what a history costs: a run of `ingest` with nothing new, `status`, one drop, a publish and the sealing.

`python -m benchmarks.history`. Each figure is taken after 10, 200 and 1,000 drops that were ingested in runs of 100
files. Lake, journals, log, index and the enclave with its database are real; the enclave runs in this process, the
source is a folder, and the keys are in memory. A run opens its ports anew, as a command does. CPU time is that of this
process and of PostgreSQL. What other processes of the machine do changes the wall time only, so CPU time and catalog
loads decide: each at most 1.5 times that after 10 drops. A catalog load reads the metadata of one table. `--servers`
measures a run with nothing new and `status` through the commands and their servers. Exit 1: a figure has grown more.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import psutil

from benchmarks.machine import describe_machine, render_table, write_result
from tests.builders.journeys import ProjectFixture, running_project
from tests.builders.local_platform import SOURCE, LocalProject, local_project
from tests.builders.order_drops import CONTRACT, write_order_drop
from tests.builders.postgres import database
from tests.builders.process_watch import watch_processes
from wellspring import workflows
from wellspring.worker.query_handlers import MAX_LISTED_ACCOUNTS
from wellspring.workflows import ingest, publish, queries

COUNTS = (10, 200, 1000)
FILES_PER_RUN = 100
ROWS = 12
MAX_RATIO = 1.5
REPEATS = 5
TABLES = ("order_line", "invoice_line", "shipment_line", "refund_line")
EMPTY, STATUS, DROP, PUBLISH, SEAL = "empty ingest", "status", "one drop", "publish", "sealing"
OPERATIONS = (EMPTY, STATUS, DROP, PUBLISH, SEAL)
MIN_SECONDS = 0.005
"""CPU time that is not compared: below it, the steps of the clock and of the machine are larger than a growth."""


class Cost(NamedTuple):
    """The cost of one operation. cpu: of this process and PostgreSQL, or of enclave and worker. loads: of tables."""

    seconds: float
    cpu: float
    loads: float


class CostMeter:
    """Sums what the operations of one run cost, by name."""

    def __init__(self, server: psutil.Process) -> None:
        self._postgres = [server, *server.children(recursive=True)]
        self._loads = 0
        self.costs: dict[str, Cost] = {}

    @contextmanager
    def count_loads(self) -> Generator[None]:
        """Count the tables whose metadata is read while the block runs."""
        from pyiceberg.serializers import FromInputFile

        read_metadata = FromInputFile.table_metadata

        def counted(*arguments: Any) -> Any:
            self._loads += 1
            return read_metadata(*arguments)

        with patch.object(FromInputFile, "table_metadata", staticmethod(counted)):
            yield

    @contextmanager
    def measure(self, operation: str) -> Generator[None]:
        """Add what the block costs to an operation."""
        before = self._read()
        yield
        spent = [end - start for start, end in zip(before, self._read(), strict=True)]
        self.costs[operation] = Cost(
            *(sum(pair) for pair in zip(self.costs.get(operation, Cost(0, 0, 0)), spent, strict=True))
        )

    def _read(self) -> tuple[float, float, int]:
        database_cpu = 0.0
        for process in self._postgres:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            database_cpu += times.user + times.system
        return time.perf_counter(), time.process_time() + database_cpu, self._loads


class DropHistory:
    """A project whose history grows. sent: the number of files that were sent."""

    def __init__(self, project: LocalProject, server: psutil.Process) -> None:
        self._project = project
        self._server = server
        self.sent = 0

    def grow(self, count: int) -> None:
        """Ingest drops until there are `count`, in runs of FILES_PER_RUN files."""
        while self.sent < count:
            for _ in range(min(FILES_PER_RUN, count - self.sent)):
                self._send()
            with self._project.open_platform() as platform:
                result = workflows.ingest_source(platform, SOURCE)
            if not result.verdict.passed or not result.newly_published:
                raise RuntimeError(f"a run published nothing: {result.verdict}")

    def measure(self) -> dict[str, Cost]:
        """Measure each operation REPEATS times and return its lowest CPU time, with wall time and loads of that run."""
        rounds: list[dict[str, Cost]] = []
        for _ in range(REPEATS):
            meter = CostMeter(self._server)
            gc.collect()
            with meter.count_loads():
                with meter.measure(EMPTY), self._project.open_platform() as platform:
                    workflows.ingest_source(platform, SOURCE)
                with meter.measure(STATUS), self._project.open_platform() as platform:
                    show_status(platform)
                self._send()
                with self._project.open_platform() as platform, _watch_parts(meter):
                    workflows.ingest_source(platform, SOURCE)
            rounds.append(meter.costs)
        return {name: min((costs[name] for costs in rounds), key=lambda cost: cost.cpu) for name in OPERATIONS}

    def _send(self) -> None:
        name = TABLES[self.sent % len(TABLES)]
        write_order_drop(self._project.outbox / f"{name}_{self.sent:05d}.csv", ROWS, first=self.sent * ROWS)
        self.sent += 1


def show_status(platform: Any) -> None:
    """Do what the worker does for `wellspring status`."""
    queries.list_row_accounts(platform, limit=MAX_LISTED_ACCOUNTS)
    platform.lake.get_edition()


@contextmanager
def _watch_parts(meter: CostMeter) -> Generator[None]:
    """Measure the parts of a run of `ingest`: the file, the publish without its sealing, and the sealing."""
    handle_file, publish_pieces, seal_edition = ingest._handle_file, publish._publish_pieces, publish.seal_edition

    def watched_file(*arguments: Any) -> Iterator[Any]:
        with meter.measure(DROP):
            results = list(handle_file(*arguments))
        yield from results

    def watched_publish(*arguments: Any) -> None:
        with meter.measure(PUBLISH):
            publish_pieces(*arguments)
        meter.costs[PUBLISH] = Cost(
            *(total - part for total, part in zip(meter.costs[PUBLISH], meter.costs[SEAL], strict=True))
        )

    def watched_seal(*arguments: Any) -> None:
        with meter.measure(SEAL):
            seal_edition(*arguments)

    with ExitStack() as stack:
        for module, name, replacement in (
            (ingest, "_handle_file", watched_file),
            (publish, "_publish_pieces", watched_publish),
            (publish, "seal_edition", watched_seal),
        ):
            stack.enter_context(patch.object(module, name, replacement))
        yield


def measure_history(counts: Sequence[int], progress: Callable[[str], None]) -> dict[int, dict[str, Cost]]:
    """Measure the operations after each number of drops."""
    contracts = [CONTRACT.replace("order_line", name) for name in TABLES]
    figures: dict[int, dict[str, Cost]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ws-bench-")))
        server = stack.enter_context(database())
        project = stack.enter_context(local_project(folder / "project", server, contracts=contracts))
        history = DropHistory(project, _find_server(server.host))
        for count in counts:
            started = time.perf_counter()
            history.grow(count)
            progress(f"{count} drops after {time.perf_counter() - started:.0f} s")
            figures[count] = history.measure()
    return figures


def _find_server(host: Path) -> psutil.Process:
    """Find the PostgreSQL that listens in a folder."""
    option = f"unix_socket_directories={host}"
    return next(item for item in psutil.process_iter() if option in _command_line(item))


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def measure_servers(counts: Sequence[int], progress: Callable[[str], None]) -> dict[int, dict[str, Cost]]:
    """Measure the commands on their servers after each number of drops: wall time, and CPU of enclave and worker."""
    figures: dict[int, dict[str, Cost]] = {}
    with running_project(contracts=[CONTRACT.replace("order_line", name) for name in TABLES]) as project:
        sent = 0
        for count in counts:
            while sent < count:
                for _ in range(min(FILES_PER_RUN, count - sent)):
                    name = TABLES[sent % len(TABLES)]
                    write_order_drop(project.outbox / f"{name}_{sent:05d}.csv", ROWS, first=sent * ROWS)
                    sent += 1
                project.ingest()
            progress(f"{count} drops")
            figures[count] = {
                name: _measure_command(project, words) for name, words in ((EMPTY, "ingest"), (STATUS, "status"))
            }
    return figures


def _measure_command(project: ProjectFixture, command: str) -> Cost:
    costs: list[Cost] = []
    for _ in range(REPEATS):
        with watch_processes(project.project) as watch:
            project.run(command)
        costs.append(Cost(watch.seconds, watch.enclave_cpu + watch.worker_cpu, 0))
    return min(costs, key=lambda cost: cost.cpu)


def find_growth(figures: dict[int, dict[str, Cost]]) -> list[str]:
    """Describe each figure that is more than MAX_RATIO times that after the fewest drops."""
    first, *later = figures.values()
    counts = list(figures)[1:]
    return [
        f"{name} after {count} drops: {what} {getattr(costs[name], what):.3f}, first {getattr(first[name], what):.3f}"
        for count, costs in zip(counts, later, strict=True)
        for name in costs
        for what, least in (("cpu", MIN_SECONDS), ("loads", 1))
        if getattr(costs[name], what) > MAX_RATIO * max(getattr(first[name], what), least)
    ]


def render_figures(figures: dict[int, dict[str, Cost]]) -> str:
    """Lay the figures out: one line for each operation and number of drops."""
    first = next(iter(figures.values()))
    return render_table(
        ("", "drops", "wall ms", "CPU ms", "of the first", "catalog loads"),
        [
            (
                name,
                count,
                f"{costs[name].seconds * 1e3:.0f}",
                f"{costs[name].cpu * 1e3:.0f}",
                f"{costs[name].cpu / max(first[name].cpu, MIN_SECONDS):.2f}x",
                f"{costs[name].loads:.0f}",
            )
            for name in first
            for count, costs in figures.items()
        ],
    )


def main() -> int:
    """Measure, print the table, store the figures, and print them in one line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS), help="numbers of drops")
    parser.add_argument("--servers", action="store_true", help="measure the commands on their servers")
    arguments = parser.parse_args()
    described = describe_machine(Path(tempfile.gettempdir()))
    started = time.perf_counter()
    measure = measure_servers if arguments.servers else measure_history
    figures = measure(arguments.counts, lambda line: print(f"  {line}", file=sys.stderr))
    growth = find_growth(figures)
    print(render_figures(figures))
    for line in growth:
        print(f"grown: {line}", file=sys.stderr)
    summary = {
        "seconds": round(time.perf_counter() - started),
        "grown": len(growth),
        **{
            name: {str(count): [round(value, 4) for value in costs[name]] for count, costs in figures.items()}
            for name in next(iter(figures.values()))
        },
    }
    if tuple(arguments.counts) == COUNTS and not arguments.servers:
        write_result("history", {"machine": described, "rows": ROWS, "files_per_run": FILES_PER_RUN, **summary})
    print(json.dumps(summary))
    return 1 if growth else 0


if __name__ == "__main__":
    sys.exit(main())
