"""Measure the price of proof: 150,000 claims from SFTP to a published edition, beside its parts and its peers.

`python -m benchmarks.receive`. In each of three rounds, one after the other: a new file; the whole (the command
`wellspring ingest`, on its own servers); the same command with nothing new to do; each part alone on the same file;
DuckDB turning that file into Parquet; each peer. Figures are medians of the rounds. The start of the command counts on
neither side of the promise: exit 1 if what is left of the whole takes more than 1.5 times the sum of its parts.
Exit 69 if the servers cannot be started. A peer whose package is missing is said to be, and nothing is guessed for it.
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

from benchmarks.machine import keep, machine, median, table, timed
from benchmarks.parts import parts
from benchmarks.peers.job import UNAVAILABLE, Job
from benchmarks.vendor import Vendor, vendor
from examples.health_plan import population
from wellspring.data.contracts.contract import load_contract
from wellspring.records.clock import SystemClock
from wellspring.records.data import DataContract

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


class NoFigure(Exception):
    """Something did not run as it must; nothing that was measured with it may be told."""

    def __init__(self, what: str, code: int = 1) -> None:
        super().__init__(what)
        self.code = code


def main() -> int:
    """Measure, print the tables, keep the figures."""
    requests = argparse.ArgumentParser(
        prog="python -m benchmarks.receive", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    requests.add_argument("--lines", type=int, default=LINES)
    requests.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = requests.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ws-bench-"))
    # The servers run under users of their own, and look in here.
    os.chmod(folder, 0o755)
    try:
        return _result(_measured(folder, arguments.lines, arguments.rounds))
    except NoFigure as exc:
        print(f"no figure: {exc}", file=sys.stderr)
        return exc.code
    finally:
        shutil.rmtree(folder)


def _measured(folder: Path, lines: int, rounds: int) -> dict[str, Any]:
    described = machine(folder)
    project, alone = folder / "house", folder / "alone"
    for place in (project, alone):
        shutil.copytree(
            EXAMPLE, place, ignore=shutil.ignore_patterns(".wellspring", "vendor", "witness", "__pycache__")
        )
    contract = load_contract(
        project / "contracts" / "medical_claim.odcs.yaml", tenant="bench", known_since=SystemClock().now()
    )
    people = population.members(MEMBERS, 1)
    observed: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    with vendor(alone) as second:
        _wellspring(project, "up", expect={0})
        try:
            for turn in range(rounds + 1):
                count, month = (lines if turn else WARM_UP), f"2026-{turn + 1:02d}"
                claims = population.claims(count, turn, people=people, month=month)
                path = population.write_csv(claims, second.outbox / f"medical_claim_{month}.csv")
                _round(observed, missing, folder / f"round-{turn}", project, second, path, contract, count)
        finally:
            _wellspring(project, "down", expect={0})
    # The first round, of a small file, warms the servers up: they stay, and so does what they have imported.
    observed = observed[1:]
    return {"machine": described, "lines": lines, "rounds": observed, "missing": missing, "bytes": observed[0]["bytes"]}


def _round(
    observed: list[dict[str, Any]],
    missing: dict[str, str],
    folder: Path,
    project: Path,
    second: Vendor,
    path: Path,
    contract: DataContract,
    lines: int,
) -> None:
    folder.mkdir()
    part = project / "vendor" / "outbox" / f"{path.name}.part"
    shutil.copyfile(path, part)
    part.rename(part.with_suffix(""))
    before = _entries(project)
    whole, result = _wellspring(project, "ingest", "clearinghouse", expect={0})
    outcome = result["files"][0]["account"]
    if (outcome["received"], outcome["published"]) != (lines, lines):
        raise NoFigure(f"of {lines} rows {outcome['published']} were published")
    entries = _entries(project) - before
    idle, _ = _wellspring(project, "ingest", "clearinghouse", expect={NOTHING_NEW})
    alone = parts(second, path.name, contract, folder, entries=entries)
    floor = timed(lambda: _duckdb(path, folder / "floor.parquet"))
    peers: dict[str, Any] = {}
    for peer in PEERS:
        if peer not in missing:
            answer = _peer(peer, second, path, folder)
            if "missing" in answer:
                missing[peer] = answer["missing"]
            elif answer["kept"] != lines:
                raise NoFigure(f"the peer {peer} kept {answer['kept']} of {lines} rows")
            else:
                peers[peer] = answer
    observed.append(
        {
            "whole": whole,
            "idle": idle,
            "parts": alone.seconds,
            "within": alone.within,
            "duckdb": floor,
            "peers": peers,
            "entries": entries,
            "bytes": path.stat().st_size,
        }
    )
    shutil.rmtree(folder)


def _result(result: dict[str, Any]) -> int:
    rounds = result["rounds"]
    whole, idle, floor = (median(item[key] for item in rounds) for key in ("whole", "idle", "duckdb"))
    work = median(item["whole"] - item["idle"] for item in rounds)
    alone = {what: median(item["parts"][what] for item in rounds) for what in rounds[0]["parts"]}
    within = {what: median(item["within"][what] for item in rounds) for what in rounds[0]["within"]}
    total = sum(alone.values())
    size = f"{result['lines']:,} claims ({result['bytes'] / 1e6:.0f} MB)"
    print(f"{size} from SFTP to a published edition, medians of {len(rounds)}\n")
    rows = [(what, f"{seconds:.3f}") for what, seconds in alone.items()]
    rows += [("sum of the parts", f"{total:.3f}"), ("the whole, without the start of the command", f"{work:.3f}")]
    rows += [
        ("the start (the same command with nothing to do)", f"{idle:.3f}"),
        ("`wellspring ingest`", f"{whole:.3f}"),
    ]
    print(table(("part", "seconds"), rows))
    for what, seconds in within.items():
        print(f"  {what}: {seconds:.3f}")
    stored = work <= AT_MOST * total
    output = f"promised: at most {AT_MOST} x: {'kept' if stored else 'BROKEN'}"
    print(f"\nthe whole is {work / total:.2f} x the sum of its parts; {output}")
    print(f"the price of proof: {work / floor:.1f} x DuckDB's CSV to Parquet ({floor:.3f} s); goal: {GOAL:.0f} x")
    print(f"with the start of the command: {whole / floor:.1f} x\n")
    peers = _beside(result, whole, work, floor)
    result["medians"] = {
        "whole": whole,
        "idle": idle,
        "work": work,
        "parts": alone,
        "within": within,
        "sum": total,
        "duckdb": floor,
        "peers": peers,
    }
    result["ratios"] = {"of_parts": work / total, "price_of_proof": work / floor, "price_with_start": whole / floor}
    path = keep("receive", result)
    on = result["machine"]
    print(f"\nmachine: {on['cores']} x {on['processor']}, {on['memory_gib']} GiB, {on['file_system']},")
    print(f"load {on['load_before']} before it began; all figures in {path}")
    return 0 if stored else 1


def _beside(result: dict[str, Any], whole: float, work: float, floor: float) -> dict[str, Any]:
    """Print the peers beside us, and return their medians."""
    rows = [("wellspring ingest", f"{whole:.3f}", f"{work:.3f}", "1.0 x", "all of the above")]
    medians: dict[str, Any] = {}
    for peer in PEERS:
        if peer in result["missing"]:
            rows.append((peer, "-", "-", "-", f"not measured: {result['missing'][peer]} is not installed (exit 69)"))
            continue
        observed = [item["peers"][peer] for item in result["rounds"]]
        process = median(item["process"] for item in observed)
        inner = median(item["process"] - item["seconds"]["import"] for item in observed)
        medians[peer] = {"process": process, "without_start": inner}
        lacks = "no proof, no wall, no search, no original"
        rows.append((peer, f"{process:.3f}", f"{inner:.3f}", f"{process / whole:.1f} x", lacks))
    rows.append(("DuckDB, CSV to Parquet", "-", f"{floor:.3f}", "-", "no SFTP, no check, no token: the floor"))
    print(table(("beside it", "whole s", "without start s", "of ours", "what it does"), rows))
    return medians


def _wellspring(project: Path, *command: str, expect: set[int]) -> tuple[float, Any]:
    """Run one command as a person would, and return its seconds and its JSON answer."""
    start = time.perf_counter()
    argv = [sys.executable, "-m", "wellspring.cli", "--project", str(project), "--json", *command]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode not in expect:
        output = done.stderr.strip().splitlines()[-4:]
        raise NoFigure(
            f"`wellspring {' '.join(command)}` ended with {done.returncode}: {' | '.join(output)}", done.returncode
        )
    return seconds, json.loads(done.stdout)


def _entries(project: Path) -> int:
    """Read the size of the log from its checkpoint: the second line of the note."""
    try:
        return int((project / ".wellspring" / "ledger" / "checkpoint").read_text(encoding="utf-8").splitlines()[1])
    except FileNotFoundError:
        return 0


def _peer(peer: str, second: Vendor, path: Path, folder: Path) -> dict[str, Any]:
    lake = folder / peer
    lake.mkdir()
    job = Job(
        host=second.host,
        port=second.port,
        user=second.user,
        private_key=second.private_key,
        known_hosts=second.known_hosts.read_text(encoding="utf-8"),
        file=f"{second.outbox.name}/{path.name}",
        contract=str(EXAMPLE / "contracts" / "medical_claim.odcs.yaml"),
        lake=str(lake),
        secret=os.urandom(32).hex(),
    )
    paper = folder / f"{peer}.json"
    paper.write_text(json.dumps(job._asdict()), encoding="utf-8")
    start = time.perf_counter()
    argv = [sys.executable, "-m", f"benchmarks.peers.{peer}", str(paper)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode not in {0, UNAVAILABLE}:
        output = done.stderr.strip().splitlines()[-1:]
        raise NoFigure(f"the peer {peer} ended with {done.returncode}: {' '.join(output)}")
    return {**json.loads(done.stdout.splitlines()[-1]), "process": seconds}


def _duckdb(path: Path, out: Path) -> None:
    import duckdb

    with duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"}) as engine:
        engine.execute(f"COPY (SELECT * FROM read_csv('{path}')) TO '{out}' (FORMAT parquet)")


if __name__ == "__main__":
    sys.exit(main())
