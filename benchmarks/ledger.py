"""Measure the log: bytes for each answer, time from an answer to its checkpoint, memory, proofs, and appends.

`python -m benchmarks.ledger`. Journal, sequencer loop, tiles, index and witness are the real ones, on disk; the signing
key and the witness are in this process, so the time of OpenBao and of the witness's socket is missing. Answers have the
facts of a real prediction with three views. Exit 1: an answer takes more than MAX_ANSWER_BYTES at rest, integrating
takes more than MAX_PEAK_MB, or an answer is in the signed log later than MAX_LATE_SECONDS (99 %).

- at rest: all files of journals, tiles, line packs and index after a day of answers at 2/s, and after as many at
  1,000/s, divided by their number.
- to the log: a writer appends at a rate with random gaps; an answer is signed, and witnessed, when the sequencer has
  done so for a checkpoint that covers it.
- peak memory: of a process that integrates lines which waited.
- verify: of one answer in a tree of ten million entries, whose hashes are made up.
- appends: durable entries per second, beside a raw append with fdatasync, and pymerkle's tree in memory.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from pydantic import JsonValue

from benchmarks.answers import append_answer, build_answer, write_journal
from benchmarks.machine import describe_machine, percentile, render_table, write_result
from benchmarks.peers import merkle_tree
from tests.builders.journal_keys import SERVICE_KEYS, journal_key
from tests.builders.ledger import LocalSigner
from wellspring.records.clock import Clock, SystemClock
from wellspring.records.trust import Ref
from wellspring.sequencer.integration import IntegrationLoop
from wellspring.sequencer.journal_scan import JournalScan
from wellspring.sequencer.packing import MAX_PACK_LINES, LinePacker
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.trust.ledger.cosigner import LocalWitness, register_log
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.ledger.index_rows import PACK_ACTION
from wellspring.trust.ledger.journal import Journal, encode_entry
from wellspring.trust.ledger.journal_state import count_packed_lines
from wellspring.trust.ledger.line_pack import EncodedPack
from wellspring.trust.ledger.sequencer import Sequencer
from wellspring.trust.ledger.tree import MerkleTree, load_log_origin, updated_tiles
from wellspring_verify import merkle

DAY_SECONDS = 86_400
RATES = (2, 1_000, 5_000)
BYTE_RATES = (2, 1_000)
MAX_ANSWER_BYTES = 500
MAX_PEAK_MB = 300
MAX_LATE_SECONDS = 2.0


class SimulatedClock:
    """A clock that its user moves."""

    def __init__(self) -> None:
        self.instant = datetime(2026, 11, 25, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant


class Latency(NamedTuple):
    """Seconds from a durable answer to a checkpoint that covers it: signed, and cosigned by the witness."""

    signed: list[float]
    witnessed: list[float]


class BenchLog:
    """A log in a folder, with one journal.

    checkpoints: (sequence of the last covered answer, signed at, witnessed at), in the order of the log.
    """

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder, self.clock = folder, clock or SystemClock()
        self.journals = folder / "journals"
        paths = DiskBlobStore(folder / "ledger")
        self.index = LedgerIndex(folder / "ledger" / "index.sqlite", MerkleTree(paths), self.journals)
        self.checkpoints: list[tuple[int, float, float]] = []
        self._signed_at = self._witnessed_at = 0.0
        self.sequencer = Sequencer(
            paths=paths,
            journals=self.journals,
            origin=load_log_origin(paths, "bench"),
            signer=LocalSigner(),
            witness=LocalWitness(folder / "witness", clock=self.clock),
            index=self.index,
            service_keys=SERVICE_KEYS,
            crash_point=self._note_point,
        )
        register_log(folder / "witness", self.sequencer.verifier_key())

    def open_journal(self, service: str) -> Journal:
        """Open a journal, which removes what is packed."""
        count = partial(count_packed_lines, self.folder / "ledger", service)
        return Journal(self.journals, journal_key(service), tenant="acme", clock=self.clock, count_packed=count)

    def open_packer(self, own: Journal) -> LinePacker:
        """Open a packer that records its packs in a journal."""

        def record(pack: EncodedPack, digest: str) -> None:
            ref = Ref(name=f"lines:{pack.first}", digest=digest)
            facts: dict[str, JsonValue] = {"first": pack.first, "last": pack.last, "lines": pack.lines}
            own.append_entry(
                actor="service:sequencer", action=PACK_ACTION, phase="done", subject=ref.name, outputs=[ref],
                facts={**facts, "bytes": len(pack.content)}, trace="0" * 32,
            )  # fmt: skip

        return LinePacker(
            index=self.index,
            paths=self.index.tree.paths,
            journals=self.journals,
            ledger=self.folder / "ledger",
            origin=self.sequencer.origin,
            record_pack=record,
            crash_point=lambda point: None,
        )

    def _note_point(self, point: str) -> None:
        if point == "ledger.integrate:signed":
            self._signed_at = time.perf_counter()
        elif point == "ledger.integrate:cosigned":
            self._witnessed_at = time.perf_counter()

    def run_loop(self, stop: threading.Event) -> None:
        """Run the sequencer's loop until the event is set, and note what each checkpoint covered."""
        loop = IntegrationLoop(
            self.sequencer,
            journals=self.journals,
            index=self.index,
            clock=self.clock,
            scan=JournalScan(self.journals, self.folder / "ledger"),
            record_finding=lambda service, finding: None,
            record_heartbeat=lambda: None,
            heartbeat_interval=timedelta(hours=1),
        )
        while not stop.is_set():
            stop.wait(0.001)
            loop.run_once()
            covered = self.index.last_sequence("api")
            if not self.checkpoints or self.checkpoints[-1][0] < covered:
                self.checkpoints.append((covered, self._signed_at, self._witnessed_at))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables, store the figures; return 1 if a minimum is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description="Measure the log.")
    parser.add_argument("--answers", type=int, default=2 * DAY_SECONDS, help="answers whose bytes are measured")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds at each rate")
    parser.add_argument("--lines", type=int, default=1_000_000, help="waiting lines that are integrated")
    parser.add_argument("--leaves", type=int, default=10_000_000, help="entries of the tree in which one is verified")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child is not None:
        return _integrate_in_child(options.child)
    with tempfile.TemporaryDirectory(prefix="ws-bench-") as name:
        folder = Path(name)
        figures: dict[str, Any] = {"machine": describe_machine(folder)}
        figures["bytes"] = {
            str(rate): measure_bytes(folder / f"bytes-{rate}", options.answers, rate) for rate in BYTE_RATES
        }
        figures["latency"] = {
            str(rate): _summarize(measure_latency(folder / f"rate-{rate}", rate, options.seconds)) for rate in RATES
        }
        figures["memory"] = measure_memory(folder / "memory", options.lines)
        figures["verify"] = measure_verify(folder / "verify", options.leaves)
        figures["appends"] = measure_appends(folder / "appends")
    _print_tables(figures)
    path = write_result("ledger", figures)
    return print_verdict(figures, path)


def measure_bytes(folder: Path, answers: int, rate: int) -> dict[str, float]:
    """Write answers that come at a rate, integrate and pack them, and return the bytes of each at rest, by place.

    Lines are packed each hour and when a whole pack waits. The clock is simulated, and nothing is synced.
    """
    clock = SimulatedClock()
    log = BenchLog(folder, clock)
    unsynced = patch.object(os, "fdatasync", lambda handle: None)
    with unsynced, closing(log.open_journal("sequencer")) as own:
        packer = log.open_packer(own)
        piece = min(3600 * rate, MAX_PACK_LINES)
        for first in range(0, answers, piece):
            with closing(log.open_journal("api")) as journal:
                for number in range(first, min(first + piece, answers)):
                    clock.instant += timedelta(seconds=1 / rate)
                    append_answer(journal, number)
            log.sequencer.integrate()
            packed = packer.write_packs()
            log.sequencer.integrate()
            packer.release_journals(packed.counts)
        # It removes the packed lines, as each start of a service does.
        log.open_journal("api").close()
    packs = _folder_size(folder / "ledger" / "packs")
    sizes = {
        "journal": _folder_size(log.journals),
        "tiles": _folder_size(folder / "ledger") - _index_size(folder) - packs,
        "line packs": packs,
        "index": _index_size(folder),
    }
    return {place: size / answers for place, size in sizes.items()}


def measure_latency(folder: Path, rate: int, seconds: float) -> Latency:
    """Append answers at a rate, with the sequencer's loop beside, and return how late each was in the log."""
    log, stop, draw = BenchLog(folder), threading.Event(), random.Random(1)
    journal = Journal(log.journals, journal_key("api"), tenant="acme", clock=log.clock)
    log.sequencer.integrate()
    durable: dict[int, float] = {}
    arrivals = _arrivals(rate, seconds, draw)
    lock = threading.Lock()

    def write() -> None:
        pause = threading.Event()
        while True:
            with lock:
                due = next(arrivals, None)
            if due is None:
                return
            pause.wait(max(0.0, due - time.perf_counter()))
            entry = append_answer(journal, draw.randrange(10**9))
            durable[entry.sequence] = time.perf_counter()

    loop = threading.Thread(target=log.run_loop, args=(stop,))
    loop.start()
    writers = [threading.Thread(target=write) for _ in range(min(32, max(1, rate // 50)))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    last = max(durable)
    limit = time.monotonic() + 60
    while (not log.checkpoints or log.checkpoints[-1][0] < last) and time.monotonic() < limit:
        stop.wait(0.01)
    stop.set()
    loop.join()
    journal.close()
    latency = Latency([], [])
    position = 0
    for sequence in sorted(durable):
        while log.checkpoints[position][0] < sequence:
            position += 1
        _, signed_at, witnessed_at = log.checkpoints[position]
        latency.signed.append(signed_at - durable[sequence])
        latency.witnessed.append(witnessed_at - durable[sequence])
    return latency


def measure_memory(folder: Path, lines: int) -> dict[str, float]:
    """Integrate waiting lines in a process of its own; return its peak memory and its rate."""
    log = BenchLog(folder)
    write_journal(log.journals, lines)
    started = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.ledger", "--child", str(folder)], capture_output=True, check=True, text=True
    )
    peak_kilobytes = int(process.stdout.split()[-1])
    return {"lines": lines, "peak_mb": peak_kilobytes / 1024, "per_second": lines / (time.perf_counter() - started)}


def _integrate_in_child(folder: Path) -> int:
    BenchLog(folder).sequencer.integrate()
    # Not ru_maxrss: it includes the peak of the process that started this one.
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    print(line.split()[1])
    return 0


def measure_verify(folder: Path, leaves: int) -> dict[str, float]:
    """Build the hash tiles of a large tree, and return the milliseconds to prove and to verify one of its entries."""
    tree = MerkleTree(DiskBlobStore(folder))
    hashes = [hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(leaves)]
    for tile, content in updated_tiles(tree, 0, hashes):
        tree.paths.write_once(tile, content)
    root = tree.root_hash(leaves)
    draw = random.Random(2)
    prove: list[float] = []
    verify: list[float] = []
    for _ in range(50):
        number = draw.randrange(leaves)
        cold = MerkleTree(DiskBlobStore(folder))
        started = time.perf_counter()
        proof = cold.inclusion_proof(number, leaves)
        proved = time.perf_counter()
        if not merkle.verify_inclusion(hashes[number], number, leaves, proof, root):
            raise AssertionError("a proof of the tree does not verify")
        prove.append(1000 * (proved - started))
        verify.append(1000 * (time.perf_counter() - proved))
    return {"leaves": leaves, "prove_p50_ms": percentile(prove, 0.5), "verify_p50_ms": percentile(verify, 0.5)}


def measure_appends(folder: Path, count: int = 5_000) -> dict[str, float]:
    """Return appends per second: of the journal with 1 and 32 threads, raw with fdatasync, and of pymerkle."""
    line = encode_entry(build_answer(0, 0)) + b"\n"
    return {
        "journal, 1 thread": _journal_rate(folder / "one", 1, count // 5),
        "journal, 32 threads": _journal_rate(folder / "many", 32, count),
        "raw append + fdatasync": _raw_rate(folder, line, count // 5),
        "pymerkle in memory, not durable": merkle_tree.measure_rate([line] * count),
    }


def _arrivals(rate: int, seconds: float, draw: random.Random) -> Iterator[float]:
    """Yield the instants at which answers are due, with exponential gaps."""
    due = started = time.perf_counter()
    while (due := due + draw.expovariate(rate)) < started + seconds:
        yield due


def _journal_rate(folder: Path, threads: int, count: int) -> float:
    journal = Journal(folder, journal_key("api"), tenant="acme", clock=SystemClock())
    started = time.perf_counter()
    workers = [
        threading.Thread(target=lambda: [append_answer(journal, number) for number in range(count // threads)])
        for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - started
    journal.close()
    return count // threads * threads / seconds


def _raw_rate(folder: Path, line: bytes, count: int) -> float:
    handle = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    started = time.perf_counter()
    for _ in range(count):
        os.write(handle, line)
        os.fdatasync(handle)
    seconds = time.perf_counter() - started
    os.close(handle)
    return count / seconds


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _index_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "ledger").glob("index.sqlite*"))


def _summarize(latency: Latency) -> dict[str, float]:
    shares: dict[str, Callable[[list[float]], float]] = {
        "p50": lambda values: percentile(values, 0.5),
        "p99": lambda values: percentile(values, 0.99),
        "max": max,
    }
    return {
        "answers": len(latency.signed),
        **{f"signed_{name}_ms": 1000 * share(latency.signed) for name, share in shares.items()},
        **{f"witnessed_{name}_ms": 1000 * share(latency.witnessed) for name, share in shares.items()},
    }


def _print_tables(figures: dict[str, Any]) -> None:
    for rate, sizes in figures["bytes"].items():
        rows = [*_rows(sizes, "{:,.0f}"), ("all", f"{sum(sizes.values()):,.0f}")]
        print(render_table((f"bytes of an answer at {rate}/s", ""), rows))
    print()
    head = ("answers/s", "answers", "signed p50 ms", "p99", "max", "witnessed p50 ms", "p99", "max")
    print(
        render_table(
            head,
            [
                (rate, item["answers"], *(f"{item[f'{what}_{name}_ms']:,.1f}" for what in ("signed", "witnessed")
                                          for name in ("p50", "p99", "max")))
                for rate, item in figures["latency"].items()
            ],
        )
    )  # fmt: skip
    print()
    print(render_table(("appends per second", ""), _rows(figures["appends"], "{:,.0f}")))
    memory, verify = figures["memory"], figures["verify"]
    print(
        f"\n{memory['lines']:,} waiting lines: {memory['peak_mb']:,.0f} MB at peak, {memory['per_second']:,.0f} lines/s"
    )
    print(
        f"one entry of {verify['leaves']:,}: proved in {verify['prove_p50_ms']:.2f} ms, "
        f"verified in {verify['verify_p50_ms']:.3f} ms"
    )


def _rows(values: dict[str, float], form: str) -> list[tuple[str, str]]:
    return [(name, form.format(value)) for name, value in values.items()]


def print_verdict(figures: dict[str, Any], path: Path) -> int:
    """Print the figures that have a limit on the last line, and return 1 if one is missed."""
    total = max(sum(sizes.values()) for sizes in figures["bytes"].values())
    late = max(item["signed_p99_ms"] for item in figures["latency"].values()) / 1000
    peak = figures["memory"]["peak_mb"]
    missed = total > MAX_ANSWER_BYTES or late > MAX_LATE_SECONDS or peak > MAX_PEAK_MB
    print(f"all figures in {path}")
    print(
        f"{'missed' if missed else 'met'}: {total:,.0f} bytes an answer (limit {MAX_ANSWER_BYTES}), "
        f"in the signed log after {late:.2f} s at 99 % (limit {MAX_LATE_SECONDS}), "
        f"{peak:,.0f} MB for {figures['memory']['lines']:,} lines (limit {MAX_PEAK_MB})"
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
