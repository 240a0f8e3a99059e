"""`python -m tests.crash`: kill -9 at each crash point and at 50 random moments, then check the invariants.

With --source s3: the drops come from a bucket (the crash points of the intake only).
With --wide: each drop spans at least three batches (the crash points of the intake only).
With --predictions: kill each server of a project under prediction load, then check that no prediction is lost.
Exit 0 if every point was hit and every invariant held each time, else 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.crash import crash_points, drop_decisions, model_lifecycle, predictions
from tests.crash.kill import Outcome, ordered
from tests.crash.project import ProjectFixture
from tests.crash.share import Share, run_share


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
        names = [name for name in names if is_ingest_point(name)]
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
    """Kill at random moments and at the points, in a project for each of the four scenarios, side by side."""
    ingest_points = tuple(name for name in names if is_ingest_point(name))
    decision_points = tuple(name for name in names if drop_decisions.is_decision_point(name))
    lifecycle_points = tuple(sorted(set(names) - set(ingest_points) - set(decision_points)))
    until = time.monotonic() + seconds
    shares = [
        Share(folder / "lifecycle", lifecycle_points, 0, until, seed, source, wide),
        Share(folder / "decisions", decision_points, 0, until, seed, source, wide),
        Share(folder / "moments", (), moments, until, seed, source, wide),
        Share(folder / "points", ingest_points, 0, until, seed, source, wide),
    ]
    shares = [share for share in shares if share.points or share.moments]
    if len(shares) == 1:
        return run_share(shares[0])
    with ProcessPoolExecutor(len(shares), mp_context=multiprocessing.get_context("spawn")) as pool:
        return [outcome for outcomes in pool.map(run_share, shares) for outcome in outcomes]


def is_ingest_point(name: str) -> bool:
    """Return whether the ingest scenario reaches a crash point."""
    return not model_lifecycle.is_lifecycle_point(name) and not drop_decisions.is_decision_point(name)


if __name__ == "__main__":
    sys.exit(main())
