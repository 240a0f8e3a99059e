"""`python -m tests.crash`: kill -9 at each crash point and at 50 random moments, then check the invariants.

With --source s3: the drops come from a bucket (the crash points of the intake only).
With --wide: each drop spans at least three batches (the crash points of the intake only).
With --predictions: kill each server of a project under prediction load, then check that no prediction is lost.
Exit 0 if every point was hit and every invariant held each time, else 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

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


class Share(NamedTuple):
    """The kills of one project, in a process of its own. moments: how many at random; until: on the monotonic clock."""

    folder: Path
    points: tuple[str, ...]
    moments: int
    until: float
    seed: int
    source: str
    wide: bool


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
    """Kill at random moments and at the points, in a project for each of the three scenarios, side by side."""
    ingest_points = tuple(name for name in names if not model_lifecycle.is_lifecycle_point(name))
    lifecycle_points = tuple(sorted(set(names) - set(ingest_points)))
    until = time.monotonic() + seconds
    shares = [
        Share(folder / "lifecycle", lifecycle_points, 0, until, seed, source, wide),
        Share(folder / "moments", (), moments, until, seed, source, wide),
        Share(folder / "points", ingest_points, 0, until, seed, source, wide),
    ]
    shares = [share for share in shares if share.points or share.moments]
    if len(shares) == 1:
        return run_share(shares[0])
    with ProcessPoolExecutor(len(shares), mp_context=multiprocessing.get_context("spawn")) as pool:
        return [outcome for outcomes in pool.map(run_share, shares) for outcome in outcomes]


def run_share(share: Share) -> list[Outcome]:
    """Run the kills of one project, print each, and stop its servers."""
    outcomes: list[Outcome] = []
    try:
        for outcome in _list_outcomes(share):
            outcomes.append(outcome)
            state = "ok   " if outcome.good else "WRONG"
            lines = [*([] if outcome.hit else ["no process was killed"]), *outcome.error]
            text = "".join(f"               {line}\n" for line in lines)
            print(f"{state} {outcome.seconds:6.1f} s  {outcome.what}\n{text}", end="", flush=True)
    finally:
        if (share.folder / "wellspring.toml").exists():
            ProjectFixture.down(share.folder)
    return outcomes


def _list_outcomes(share: Share) -> Iterator[Outcome]:
    draw = random.Random(share.seed)
    if any(model_lifecycle.is_lifecycle_point(name) for name in share.points):
        lifecycle = model_lifecycle.LifecycleKiller(share.folder)
        lifecycle.prepare()
        kills: list[Callable[[], Outcome]] = [partial(lifecycle.point, name) for name in share.points]
    else:
        killer = open_killer(share.folder, list(share.points), source=share.source, wide=share.wide)
        kills = [partial(killer.moment, draw)] * share.moments
        kills += [partial(killer.point, name) for name in share.points]
    for kill in kills:
        if time.monotonic() >= share.until:
            return
        yield kill()


if __name__ == "__main__":
    sys.exit(main())
