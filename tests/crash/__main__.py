"""`python -m tests.crash`: kill -9 at each named crash point and at 25 random moments, and see that all is well.

With --answers: kill each process of a house that answers, under load, and see that no answer is lost.
Exit 0 when every point was hit and every invariant held each time, else 1.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.crash import crash_points, model_lifecycle, predictions
from tests.crash.kill import Outcome, open_killer, ordered
from tests.crash.project import ProjectFixture


def main(argv: list[str] | None = None) -> int:
    """Run the command line of this file."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Kill the house, and look at it.")
    parser.add_argument("points", nargs="*", metavar="POINT", help="only these crash points; default: every one")
    parser.add_argument("--random", type=int, default=25, metavar="N", help="kills at random moments (default 25)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further kill after so long")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random moments")
    parser.add_argument("--answers", action="store_true", help="kill each process of a house that answers, under load")
    options = parser.parse_args(argv)
    expected = crash_points.points()
    if unknown := sorted(set(options.points) - set(expected)):
        print(f"no crash point {', '.join(unknown)}; there are: {', '.join(expected)}", file=sys.stderr)
        return 1
    names = ordered(options.points or expected)
    # Ended from outside, it still stops the servers that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        Path(folder).chmod(0o755)
        try:
            if options.answers:
                return 0 if predictions.run(Path(folder) / "answers", predictions.VICTIMS) else 1
            outcomes = run(Path(folder), names, options.random, seconds=options.seconds, seed=options.seed)
        finally:
            for root in Path(folder).glob("*/wellspring.toml"):
                ProjectFixture.down(root.parent)
    bad = [outcome for outcome in outcomes if not outcome.good]
    print(f"{len(outcomes) - len(bad)} of {len(outcomes)} kills left a house in order (seed {options.seed})")
    return 1 if bad or not outcomes else 0


def run(folder: Path, names: list[str], moments: int, *, seconds: float, seed: int) -> list[Outcome]:
    """Kill at the random moments first (they need the first contract), then at the points; each way in its house."""
    started, draw = time.monotonic(), random.Random(seed)
    outcomes: list[Outcome] = []

    def record_entry(outcome: Outcome) -> None:
        outcomes.append(outcome)
        state = "ok   " if outcome.good else "WRONG"
        print(f"{state} {outcome.seconds:6.1f} s  {outcome.what}", flush=True)
        for line in (*([] if outcome.hit else ["nobody died there"]), *outcome.error):
            print(f"               {line}", flush=True)

    received = [name for name in names if not model_lifecycle.comes_by(name)]
    if received or moments:
        killer = open_killer(folder / "house", received)
        for _ in range(moments):
            if time.monotonic() - started < seconds:
                record_entry(killer.moment(draw))
        for name in received:
            if time.monotonic() - started < seconds:
                record_entry(killer.point(name))
        ProjectFixture.down(folder / "house")
    answered = sorted(set(names) - set(received))
    if answered and time.monotonic() - started < seconds:
        collected = model_lifecycle.Chain(folder / "chain")
        collected.prepare()
        for name in answered:
            if time.monotonic() - started < seconds:
                record_entry(collected.point(name))
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
