"""Two workers of one project whose leases are rows of a real PostgreSQL: one is paused past its lease, and writes
nothing when it goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from tests.architecture import repository
from tests.builders import drops, lakes
from tests.builders.leases import lease_conninfo
from tests.builders.paused_holders import LEASE_SECONDS
from tests.builders.recording_step import FixedClock, RecordingStep
from wellspring.models.releases.store import ReleaseStore
from wellspring.stores.locks.held_leases import HeldLeases
from wellspring.stores.locks.postgres import PostgresLocks

if TYPE_CHECKING:
    from tests.builders.postgres import Database

pytestmark = pytest.mark.live


@contextmanager
def paused_holder(case: str, folder: Path, database: Database) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Start the first worker, and wait until it has stopped before its write."""
    argv = [sys.executable, "-m", "tests.builders.paused_holders", case, str(folder), lease_conninfo(database)]
    environment = {"PYTHONPATH": f"{repository.ROOT}:{repository.SRC}", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=repository.ROOT, env=environment) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process, process.stdout
        finally:
            process.kill()


@contextmanager
def next_holder(database: Database) -> Iterator[HeldLeases]:
    """Hold the resources as the second worker, as soon as the leases of the first have ended."""
    with (
        closing(PostgresLocks(lease_conninfo(database), lease_seconds=30, wait_seconds=10 * LEASE_SECONDS)) as locks,
        closing(HeldLeases(locks)) as leases,
    ):
        leases.acquire_all(["landed", "release:denials"], "job:2")
        yield leases
        locks.connection.execute("drop table wellspring_leases")


def test_an_edition_is_not_published_after_its_lease(shared_postgres: Database, tmp_path: Path):
    contract, step = drops.contract("eligibility"), RecordingStep()
    with (
        paused_holder("edition", tmp_path, shared_postgres) as (process, output),
        next_holder(shared_postgres) as leases,
    ):
        with closing(lakes.open_lake(tmp_path, clock=FixedClock(), fence=leases)) as lake:
            part = lake.stage_part(drops.intake("b", contract, drops.rows(2)), contract, step=step)
            edition = lake.publish("clearinghouse", [part], step=step)
        process.send_signal(signal.SIGCONT)
        assert output.readline() == "the lease on landed has ended: another process may write it now\n"
        assert output.readline() == "[]\n"
        with closing(lakes.open_lake(tmp_path, clock=FixedClock(), fence=leases)) as lake:
            assert lake.get_edition() == edition
            assert [table.table for table in edition.tables] == ["eligibility"]


@pytest.mark.parametrize(("case", "intents"), [("check", []), ("intent", ["promote"])])
def test_a_release_does_not_go_live_after_its_lease(
    case: str, intents: list[str], shared_postgres: Database, tmp_path: Path
):
    with paused_holder(case, tmp_path, shared_postgres) as (process, output), next_holder(shared_postgres) as leases:
        releases = ReleaseStore(tmp_path / "models")
        first = releases.get(releases.list_ids()[0])
        with leases.fence_writes("release:denials"):
            releases.set_live(first)
        version = releases.live_version("denials")
        process.send_signal(signal.SIGCONT)
        assert output.readline() == "the lease on release:denials has ended: another process may write it now\n"
        assert output.readline() == f"{intents}\n"
        assert releases.live_version("denials") == version
