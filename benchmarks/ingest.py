"""Measure the cost of proof: 150,000 claims from SFTP to a published edition, beside its parts and its peers.

`python -m benchmarks.ingest`. Each of three rounds measures in turn: a new file; the whole (the command
`wellspring ingest`, on its own servers); the same command with nothing new to do; each part alone on the same file;
DuckDB converting that file to Parquet; each peer. Figures are medians of the rounds. The start of the command is
subtracted: exit 1 if the rest of the whole takes more than 1.5 times the sum of its parts. Exit 69 if the servers
cannot be started. A peer whose package is missing is listed as not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, median, render_table, time_call, write_result
from benchmarks.parts import measure_parts
from benchmarks.peers.job import UNAVAILABLE, Job
from benchmarks.vendor import Vendor, vendor
from examples.health_plan import population
from wellspring.data.contracts.contract import load_contract
from wellspring.records.clock import SystemClock
from wellspring.records.contracts import DataContract

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "health_plan"
ROUNDS = 3
LINES = 150_000
WARM_UP = 500
MEMBERS = 20_000
PEERS = ("first_attempt", "strong")
NOTHING_NEW = 3
AT_MOST = 1.5
GOAL = 8.0


class NoFigureError(Exception):
    """A step did not run as required, so its measurements are not reported."""

    def __init__(self, what: str, code: int = 1) -> None:
        super().__init__(what)
        self.code = code


def main() -> int:
    """Measure, print the tables, and store the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ingest", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ws-bench-"))
    # The servers run as other users and need to read this folder.
    os.chmod(folder, 0o755)
    try:
        return _report(_measure(folder, arguments.lines, arguments.rounds))
    except NoFigureError as exc:
        print(f"no figure: {exc}", file=sys.stderr)
        return exc.code
    finally:
        shutil.rmtree(folder)


def _measure(folder: Path, lines: int, rounds: int) -> dict[str, Any]:
    described = describe_machine(folder)
    project, parts_alone = folder / "project", folder / "alone"
    for place in (project, parts_alone):
        shutil.copytree(
            EXAMPLE, place, ignore=shutil.ignore_patterns(".wellspring", "vendor", "witness", "__pycache__")
        )
    contract = load_contract(
        project / "contracts" / "medical_claim.odcs.yaml", tenant="bench", known_since=SystemClock().now()
    )
    people = population.members(MEMBERS, 1)
    rounds_done: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    with vendor(parts_alone) as vendor_server:
        _wellspring(project, "up", expect={0})
        try:
            for turn in range(rounds + 1):
                count, month = (lines if turn else WARM_UP), f"2026-{turn + 1:02d}"
                claims = population.claims(count, turn, people=people, month=month)
                path = population.write_csv(claims, vendor_server.outbox / f"medical_claim_{month}.csv")
                _round(rounds_done, missing, folder / f"round-{turn}", project, vendor_server, path, contract, count)
        finally:
            _wellspring(project, "down", expect={0})
    # The first round, with a small file, warms the servers up.
    rounds_done = rounds_done[1:]
    return {
        "machine": described,
        "lines": lines,
        "rounds": rounds_done,
        "missing": missing,
        "bytes": rounds_done[0]["bytes"],
    }


def _round(
    rounds_done: list[dict[str, Any]],
    missing: dict[str, str],
    folder: Path,
    project: Path,
    vendor_server: Vendor,
    path: Path,
    contract: DataContract,
    lines: int,
) -> None:
    folder.mkdir()
    part = project / "vendor" / "outbox" / f"{path.name}.part"
    shutil.copyfile(path, part)
    part.rename(part.with_suffix(""))
    before = _ledger_size(project)
    whole, result = _wellspring(project, "ingest", "clearinghouse", expect={0})
    outcome = result["files"][0]["account"]
    if (outcome["received"], outcome["published"]) != (lines, lines):
        raise NoFigureError(f"of {lines} rows {outcome['published']} were published")
    entries = _ledger_size(project) - before
    idle, _ = _wellspring(project, "ingest", "clearinghouse", expect={NOTHING_NEW})
    parts_alone = measure_parts(vendor_server, path.name, contract, folder, entries=entries)
    floor = time_call(lambda: _duckdb(path, folder / "floor.parquet"))
    peers: dict[str, Any] = {}
    for peer in PEERS:
        if peer not in missing:
            peer_result = _peer(peer, vendor_server, path, folder)
            if "missing" in peer_result:
                missing[peer] = peer_result["missing"]
            elif peer_result["accepted"] != lines:
                raise NoFigureError(f"the peer {peer} accepted {peer_result['accepted']} of {lines} rows")
            else:
                peers[peer] = peer_result
    rounds_done.append(
        {
            "whole": whole,
            "idle": idle,
            "parts": parts_alone.seconds,
            "within": parts_alone.within,
            "duckdb": floor,
            "peers": peers,
            "entries": entries,
            "bytes": path.stat().st_size,
        }
    )
    shutil.rmtree(folder)


def _report(result: dict[str, Any]) -> int:
    rounds = result["rounds"]
    whole, idle, floor = (median(item[key] for item in rounds) for key in ("whole", "idle", "duckdb"))
    work = median(item["whole"] - item["idle"] for item in rounds)
    parts_alone = {what: median(item["parts"][what] for item in rounds) for what in rounds[0]["parts"]}
    within = {what: median(item["within"][what] for item in rounds) for what in rounds[0]["within"]}
    total = sum(parts_alone.values())
    size = f"{result['lines']:,} claims ({result['bytes'] / 1e6:.0f} MB)"
    print(f"{size} from SFTP to a published edition, medians of {len(rounds)}\n")
    rows = [(what, f"{seconds:.3f}") for what, seconds in parts_alone.items()]
    rows += [("sum of the parts", f"{total:.3f}"), ("the whole, without the start of the command", f"{work:.3f}")]
    rows += [
        ("the start (the same command with nothing to do)", f"{idle:.3f}"),
        ("`wellspring ingest`", f"{whole:.3f}"),
    ]
    print(render_table(("part", "seconds"), rows))
    for what, seconds in within.items():
        print(f"  {what}: {seconds:.3f}")
    met = work <= AT_MOST * total
    outcome_text = f"target: at most {AT_MOST} x: {'met' if met else 'MISSED'}"
    print(f"\nthe whole is {work / total:.2f} x the sum of its parts; {outcome_text}")
    print(f"the cost of proof: {work / floor:.1f} x DuckDB's CSV to Parquet ({floor:.3f} s); goal: {GOAL:.0f} x")
    print(f"with the start of the command: {whole / floor:.1f} x\n")
    peers = _print_peers(result, whole, work, floor)
    result["medians"] = {
        "whole": whole,
        "idle": idle,
        "work": work,
        "parts": parts_alone,
        "within": within,
        "sum": total,
        "duckdb": floor,
        "peers": peers,
    }
    result["ratios"] = {"of_parts": work / total, "cost_of_proof": work / floor, "cost_with_start": whole / floor}
    path = write_result("ingest", result)
    described = result["machine"]
    print(
        f"\nmachine: {described['cores']} x {described['processor']}, {described['memory_gib']} GiB, "
        f"{described['file_system']},"
    )
    print(f"load {described['load_before']} before it began; all figures in {path}")
    return 0 if met else 1


def _print_peers(result: dict[str, Any], whole: float, work: float, floor: float) -> dict[str, Any]:
    """Print the peers, and return their medians."""
    rows = [("wellspring ingest", f"{whole:.3f}", f"{work:.3f}", "1.0 x", "all of the above")]
    medians: dict[str, Any] = {}
    for peer in PEERS:
        if peer in result["missing"]:
            rows.append((peer, "-", "-", "-", f"not measured: {result['missing'][peer]} is not installed (exit 69)"))
            continue
        rounds_done = [item["peers"][peer] for item in result["rounds"]]
        process = median(item["process"] for item in rounds_done)
        inner = median(item["process"] - item["seconds"]["import"] for item in rounds_done)
        medians[peer] = {"process": process, "without_start": inner}
        lacks = "no proof, no enclave, no search, no original"
        rows.append((peer, f"{process:.3f}", f"{inner:.3f}", f"{process / whole:.1f} x", lacks))
    rows.append(("DuckDB, CSV to Parquet", "-", f"{floor:.3f}", "-", "no SFTP, no check, no token: the floor"))
    print(render_table(("implementation", "whole s", "without start s", "of wellspring", "what it does"), rows))
    return medians


def _wellspring(project: Path, *command: str, expect: set[int]) -> tuple[float, Any]:
    """Run one command, and return its seconds and its JSON output."""
    start = time.perf_counter()
    argv = [sys.executable, "-m", "wellspring.cli", "--project", str(project), "--json", *command]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode not in expect:
        outcome_text = done.stderr.strip().splitlines()[-4:]
        raise NoFigureError(
            f"`wellspring {' '.join(command)}` ended with {done.returncode}: {' | '.join(outcome_text)}",
            done.returncode,
        )
    return seconds, json.loads(done.stdout)


def _ledger_size(project: Path) -> int:
    """Read the size of the log from its checkpoint: the second line of the note."""
    try:
        return int((project / ".wellspring" / "ledger" / "checkpoint").read_text(encoding="utf-8").splitlines()[1])
    except FileNotFoundError:
        return 0


def _peer(peer: str, vendor_server: Vendor, path: Path, folder: Path) -> dict[str, Any]:
    lake = folder / peer
    lake.mkdir()
    job = Job(
        host=vendor_server.host,
        port=vendor_server.port,
        user=vendor_server.user,
        private_key=vendor_server.private_key,
        known_hosts=vendor_server.known_hosts.read_text(encoding="utf-8"),
        file=f"{vendor_server.outbox.name}/{path.name}",
        contract=str(EXAMPLE / "contracts" / "medical_claim.odcs.yaml"),
        lake=str(lake),
        secret=os.urandom(32).hex(),
    )
    job_file = folder / f"{peer}.json"
    job_file.write_text(json.dumps(job._asdict()), encoding="utf-8")
    start = time.perf_counter()
    argv = [sys.executable, "-m", f"benchmarks.peers.{peer}", str(job_file)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode not in {0, UNAVAILABLE}:
        outcome_text = done.stderr.strip().splitlines()[-1:]
        raise NoFigureError(f"the peer {peer} ended with {done.returncode}: {' '.join(outcome_text)}")
    return {**json.loads(done.stdout.splitlines()[-1]), "process": seconds}


def _duckdb(path: Path, out: Path) -> None:
    import duckdb

    with duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"}) as engine:
        engine.execute(f"COPY (SELECT * FROM read_csv('{path}')) TO '{out}' (FORMAT parquet)")


if __name__ == "__main__":
    sys.exit(main())
