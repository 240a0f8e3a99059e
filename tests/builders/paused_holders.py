"""Processes that are stopped before they make their work visible, as a machine would be that is suspended.

Run as `python -m tests.builders.paused_holders CASE FOLDER CONNINFO`. Each acquires a short lease, prepares a
write, prints `ready` and stops itself; when it is continued, it tries the write and prints what became of it: the text
of the error, and the intents that it wrote into its ledger after it was continued.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.builders import drops, lakes
from tests.builders.recording_step import FixedClock, RecordingStep
from tests.builders.released_model import Released
from wellspring.errors import Unavailable
from wellspring.models.releases.promotion import promote_release
from wellspring.records.models import Release
from wellspring.stores.locks.held_leases import HeldLeases
from wellspring.stores.locks.postgres import PostgresLocks

LEASE_SECONDS = 3.0


def stop_process() -> None:
    """Stop until somebody continues this process."""
    print("ready", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)


def publish_edition(folder: Path, leases: HeldLeases) -> RecordingStep:
    """Stage a drop of claims, and publish it after a pause."""
    step, contract = RecordingStep(), drops.contract()
    leases.acquire_all(["landed"], "job:1")
    lake = lakes.open_lake(folder, clock=FixedClock(), fence=leases)
    staged = lake.stage_part(drops.intake("a", contract, drops.rows(3)), contract, step=step)
    stop_process()
    attempt_write(lambda: lake.publish("clearinghouse", [staged], step=step))
    return step


def promote_after_pause(folder: Path, leases: HeldLeases, *, at: str) -> RecordingStep:
    """Promote the second of two releases. at: the pause is after its checks, or after its intent."""
    released = Released(folder)
    first, second = released.train(1), released.train(2)
    for release in (first, second):
        released.approve(release)
    released.fence = leases
    leases.acquire_all(["release:denials"], "job:1")
    step = released.step
    reach_point = step.crash_point

    def check_and_stop(release: Release) -> object:
        loaded = released.served(release)
        stop_process()
        return loaded

    def reach_point_and_stop(point: str) -> None:
        reach_point(point)
        if point == "release.promote:intent":
            stop_process()

    context = released.project
    if at == "check":
        context = context._replace(load_check=check_and_stop)
    else:
        step.crash_point = reach_point_and_stop
    attempt_write(lambda: promote_release(second, "user:bo", context, step=step))
    return step


def attempt_write(write: Callable[[], object]) -> None:
    """Try a write, and print how it ended."""
    try:
        write()
    except Unavailable as exc:
        print(exc.what, flush=True)
    else:
        print("written", flush=True)


def main(case: str, folder: Path, conninfo: str) -> None:
    """Run one case."""
    with (
        closing(PostgresLocks(conninfo, lease_seconds=LEASE_SECONDS)) as locks,
        closing(HeldLeases(locks)) as leases,
    ):
        if case == "edition":
            step = publish_edition(folder, leases)
        else:
            step = promote_after_pause(folder, leases, at=case)
        print([entry.action for entry in step.entries if entry.phase == "intent"], flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
