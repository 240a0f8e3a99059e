"""`python -m tests.crash`: kill -9 at each crash point and at 50 random moments, then check the invariants.

With --source s3: the drops come from a bucket (the crash points of the intake only).
With --wide: each drop spans at least three batches (the crash points of the intake only).
With --predictions: kill each server of a project under prediction load, then check that no prediction is lost.
Exit 0 if every point was hit and every invariant held each time, else 1.
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
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash", description="Kill processes of a project and check that it recovers."
    )
    parser.add_argument("points", nargs="*", metavar="POINT", help="only these crash points (default: all)")
    parser.add_argument("--random", type=int, default=50, metavar="N", help="kills at random moments (default 50)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no kill after this time")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="seed of the random moments")
    parser.add_argument("--source", choices=("sftp", "s3"), default="sftp", help="kind of the source of the drops")
    parser.add_argument("--wide", action="store_true", help="let each drop span at least three batches")
    parser.add_argument("--predictions", action="store_true", help="kill each server under prediction load")
    options = parser.parse_args(argv)
    known_names = crash_points.crash_point_names()
    if unknown := sorted(set(options.points) - set(known_names)):
        print(f"no crash point {', '.join(unknown)}; there are: {', '.join(known_names)}", file=sys.stderr)
        return 1
    names = ordered(options.points or known_names)
    if options.source != "sftp" or options.wide:
        # The model lifecycle begins after the intake: the source and its drops make no difference to it.
        names = [name for name in names if not model_lifecycle.is_lifecycle_point(name)]
    # Stop the servers also on SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        Path(folder).chmod(0o755)
        try:
            if options.predictions:
                return 0 if predictions.run(Path(folder) / "predictions", predictions.VICTIMS) else 1
            outcomes = run(
                Path(folder),
                names,
                options.random,
                seconds=options.seconds,
                seed=options.seed,
                source=options.source,
                wide=options.wide,
            )
        finally:
            for root in Path(folder).glob("*/wellspring.toml"):
                ProjectFixture.down(root.parent)
    bad = [outcome for outcome in outcomes if not outcome.good]
    print(f"{len(outcomes) - len(bad)} of {len(outcomes)} kills left an intact project (seed {options.seed})")
    return 1 if bad or not outcomes else 0


def run(
    folder: Path,
    names: list[str],
    moments: int,
    *,
    seconds: float,
    seed: int,
    source: str = "sftp",
    wide: bool = False,
) -> list[Outcome]:
    """Kill at random moments first (they need the original contract), then at the points; one project per scenario."""
    started, draw = time.monotonic(), random.Random(seed)
    outcomes: list[Outcome] = []

    def record_outcome(outcome: Outcome) -> None:
        outcomes.append(outcome)
        state = "ok   " if outcome.good else "WRONG"
        print(f"{state} {outcome.seconds:6.1f} s  {outcome.what}", flush=True)
        for line in (*([] if outcome.hit else ["no process was killed"]), *outcome.error):
            print(f"               {line}", flush=True)

    ingest_points = [name for name in names if not model_lifecycle.is_lifecycle_point(name)]
    if ingest_points or moments:
        killer = open_killer(folder / "ingest", ingest_points, source=source, wide=wide)
        for _ in range(moments):
            if time.monotonic() - started < seconds:
                record_outcome(killer.moment(draw))
        for name in ingest_points:
            if time.monotonic() - started < seconds:
                record_outcome(killer.point(name))
        ProjectFixture.down(folder / "ingest")
    lifecycle_points = sorted(set(names) - set(ingest_points))
    if lifecycle_points and time.monotonic() - started < seconds:
        lifecycle = model_lifecycle.LifecycleKiller(folder / "lifecycle")
        lifecycle.prepare()
        for name in lifecycle_points:
            if time.monotonic() - started < seconds:
                record_outcome(lifecycle.point(name))
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
