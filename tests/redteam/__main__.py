"""`python -m tests.redteam`: attack a project on its real servers from six positions, and print what became of it.

Each attempt must meet its refusal, and its twin, which differs in one thing, must be allowed. Exit 1 if an attempt
succeeds, a twin fails, or the catalogue misses a minimum.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from tests.redteam.catalogue import KINDS, POSITIONS, Attempt, find_missing_minima, list_attempts
from tests.redteam.results import Result, make_attempt
from tests.redteam.target import Target, open_target

SECONDS = 900
"""Start no attempt after this time: the run is then not complete, and fails."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line of this file."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.redteam", description="Attack a project on its real servers."
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="only this attempt, kind or position")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results to a file")
    parser.add_argument("--list", action="store_true", help="list the attempts and end")
    options = parser.parse_args(argv)
    if os.geteuid() != 0:
        print("only root may act as other users: run it as root", file=sys.stderr)
        return 1
    attempts = list_attempts()
    chosen = [item for item in attempts if not options.only or {item.name, item.kind, item.position} & {*options.only}]
    if not chosen:
        print(f"no attempt {', '.join(options.only)}; see --list", file=sys.stderr)
        return 1
    if options.list:
        for item in chosen:
            print(f"{item.kind:13} {item.position:10} {item.name}: {item.description}")
        return 0
    # Stop the servers also on SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    with open_target() as target:
        results = [result for item in chosen if (result := _attempt_in_time(target, item, started)) is not None]
        notes = [*target.notes, f"refusals in the ledger: {target.describe_refusals()}"]
    missing = [] if options.only else find_missing_minima(attempts)
    if len(results) < len(chosen):
        missing.append(f"{len(chosen) - len(results)} attempts were not made within {SECONDS} s")
    seconds = time.monotonic() - started
    if options.json is not None:
        document = {"results": [result._asdict() for result in results], "missing": missing, "notes": notes}
        options.json.write_text(json.dumps(document, indent=1), encoding="utf-8")
    print_report(results, missing, seconds)
    return 1 if missing or any(result.problem for result in results) else 0


def _attempt_in_time(target: Target, item: Attempt, started: float) -> Result | None:
    if time.monotonic() - started > SECONDS:
        return None
    result = make_attempt(target, item)
    mark = "FAIL" if result.problem else "wait" if result.awaited and not result.is_refused else "ok  "
    print(f"{mark} {item.kind:13} {item.position:10} {item.name} ({result.seconds:.1f} s)", flush=True)
    if result.problem:
        print(f"     {result.problem}", flush=True)
    return result


def print_report(results: list[Result], missing: list[str], seconds: float) -> None:
    """Print the table of refused attempts by kind and position, and the figures on the last line."""
    print(f"\n{'':14}" + "".join(f"{position:>11}" for position in POSITIONS) + f"{'all':>8}")
    for kind in (*KINDS, "all"):
        rows = [result for result in results if kind in {result.kind, "all"}]
        cells = [sum(result.position == position for result in rows) for position in POSITIONS]
        print(f"{kind:14}" + "".join(f"{count or '-':>11}" for count in cells) + f"{len(rows):>8}")
    for result in results:
        if result.awaited:
            state = "no longer awaits" if result.is_refused else "succeeds, and awaits"
            print(f"{result.name} {state} {result.awaited}")
    reasons = Counter(result.no_entry_because for result in results if result.no_entry_because)
    for reason, count in reasons.most_common():
        print(f"{count} without an entry: {reason}")
    for line in missing:
        print(f"missing: {line}")
    refused = sum(result.is_refused for result in results)
    twins = sum(result.is_twin_allowed for result in results)
    recorded = sum(result.is_recorded for result in results)
    awaited = sum(bool(result.awaited) and not result.is_refused for result in results)
    problems = sum(bool(result.problem) for result in results)
    print(
        f"{len(results)} attempts: {refused} refused, {twins} twins allowed, {recorded} recorded, "
        f"{awaited} await a defence, {problems} problems, {seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
