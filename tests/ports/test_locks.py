"""Behavior of all locks of resources: the suite of stores/locks/port.py, on files and on a real PostgreSQL."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.architecture import repository
from tests.builders.leases import OpenLocks, find_lock_builders, lease_conninfo
from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.plugins import PluginRegistry
from wellspring.stores.locks.file import FileLocks
from wellspring.stores.locks.port import LocksAdapter, ResourceLocks
from wellspring.stores.locks.postgres import PostgresLocks
from wellspring.stores.locks.registry import ENTRY_POINT_GROUP

if TYPE_CHECKING:
    from tests.builders.postgres import Database

LEASE_SECONDS = 1.0
OpenOne = Callable[[], ResourceLocks]
BUILDERS = find_lock_builders()
REGISTRY = PluginRegistry(ENTRY_POINT_GROUP, LocksAdapter, noun="kind of locks")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name == "file" else pytest.mark.live) for name in BUILDERS],
)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenLocks]:
    with BUILDERS[request.param](tmp_path_factory.mktemp("locks")) as open_one:
        yield open_one


@pytest.fixture
def open_locks(kind: OpenLocks) -> Iterator[OpenOne]:
    """Open locks of one project as another process would: each call is a holder of its own."""
    project = secrets.token_hex(4)
    with ExitStack() as stack:

        def open_and_close() -> ResourceLocks:
            locks = kind(project)
            # Closing again has no effect.
            stack.callback(locks.close)
            stack.callback(locks.close)
            return locks

        yield open_and_close


def test_each_registered_kind_runs_this_suite():
    assert set(REGISTRY.names()) == set(BUILDERS)


def test_a_resource_has_one_holder_at_a_time(open_locks: OpenOne):
    first, second = open_locks(), open_locks()
    lease = first.acquire("landed", "job:1")
    with pytest.raises(Unavailable, match="holds landed"):
        second.acquire("landed", "job:2")
    assert second.acquire("built", "job:2").resource == "built"
    first.release(lease)
    assert second.acquire("landed", "job:2").number == lease.number + 1


def test_two_projects_share_no_resource(kind: OpenLocks):
    with closing(kind("one")) as first, closing(kind("other")) as second:
        assert (first.acquire("landed", "job:1").number, second.acquire("landed", "job:2").number) == (1, 1)


def test_each_holder_has_a_higher_number(open_locks: OpenOne):
    numbers = []
    for holder in range(4):
        locks = open_locks()
        lease = locks.acquire("models:denials", f"job:{holder}")
        numbers.append(lease.number)
        locks.release(lease)
    assert numbers == [1, 2, 3, 4]


def test_a_released_lease_writes_nothing(open_locks: OpenOne):
    locks = open_locks()
    lease = locks.acquire("landed", "job:1")
    with locks.fence_writes(lease):
        pass
    locks.renew(lease)
    locks.release(lease)
    with pytest.raises(Refused, match="has ended"), locks.fence_writes(lease):
        raise AssertionError("the write began")
    with pytest.raises(Refused, match="has ended"):
        locks.renew(lease)
    later = open_locks().acquire("landed", "job:2")
    # A second release does not end the lease of the next holder.
    locks.release(lease)
    with pytest.raises(Unavailable):
        open_locks().acquire("landed", "job:3")
    assert later.number == lease.number + 1


def test_a_write_that_fails_leaves_the_lease(open_locks: OpenOne):
    locks = open_locks()
    lease = locks.acquire("landed", "job:1")
    with pytest.raises(KeyError), locks.fence_writes(lease):
        raise KeyError
    with locks.fence_writes(lease):
        pass


# --- files ------------------------------------------------------------------------------------------------------------

HOLDER = """
import sys, threading
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from wellspring.stores.locks.file import FileLocks
print(FileLocks(Path(sys.argv[1])).acquire("landed", "job:1").number, flush=True)
threading.Event().wait(60)
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path):
    argv = [sys.executable, "-c", HOLDER, str(tmp_path), str(repository.SRC)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        with pytest.raises(Unavailable):
            FileLocks(tmp_path, wait_seconds=0).acquire("landed", "job:2")
        threading.Timer(0.2, os.kill, (process.pid, signal.SIGKILL)).start()
        # It waits for a holder that is about to end.
        assert FileLocks(tmp_path, wait_seconds=10).acquire("landed", "job:2").number == 2


def test_a_damaged_number_stops_everybody(tmp_path: Path):
    (tmp_path / "landed.number").write_text("x")
    with pytest.raises(CorruptedError, match="holds no number"):
        FileLocks(tmp_path).acquire("landed", "job:1")
    (tmp_path / "landed.number").unlink()
    assert FileLocks(tmp_path, wait_seconds=0).acquire("landed", "job:1").number == 1


def test_a_project_that_was_never_started_has_no_locks(tmp_path: Path):
    with pytest.raises(Unavailable, match="never started"):
        FileLocks(tmp_path / "locks").acquire("landed", "job:1")


def test_names_of_resources_are_no_paths(tmp_path: Path):
    locks = FileLocks(tmp_path)
    locks.acquire("pack:../../x/y", "job:1")
    assert all(path.parent == tmp_path for path in tmp_path.rglob("*"))
    with pytest.raises(Unavailable, match="already"):
        locks.acquire("pack:../../x/y", "job:1")
    locks.close()


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

PAUSED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from wellspring.errors import Refused
from wellspring.stores.locks.postgres import PostgresLocks
locks = PostgresLocks(sys.argv[1], lease_seconds=1.0)
lease = locks.acquire("landed", "job:1")
print(lease.number, flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
try:
    with locks.fence_writes(lease):
        locks.connection.execute("insert into written values ('the paused holder')")
except Refused as exc:
    print(exc.what, flush=True)
"""


@pytest.mark.live
def test_a_holder_that_was_paused_past_its_lease_writes_nothing(shared_postgres: Database):
    locks = PostgresLocks(lease_conninfo(shared_postgres), lease_seconds=30, wait_seconds=0)
    locks.connection.execute("create table written (who text)")
    try:
        argv = [sys.executable, "-c", PAUSED, lease_conninfo(shared_postgres), str(repository.SRC)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "1\n"
            lease = acquire_when_free(locks, "landed")
            assert lease.number == 2
            with locks.fence_writes(lease):
                locks.connection.execute("insert into written values ('the next holder')")
            process.send_signal(signal.SIGCONT)
            assert process.stdout.readline() == "lease 1 of job:1 on landed has ended\n"
        assert locks.connection.execute("select who from written").fetchall() == [("the next holder",)]
    finally:
        locks.connection.execute("drop table written, wellspring_leases")
        locks.close()


@pytest.mark.live
def test_a_holder_that_stops_in_the_middle_of_a_write_loses_the_write(shared_postgres: Database):
    first, second = (
        PostgresLocks(lease_conninfo(shared_postgres), lease_seconds=LEASE_SECONDS, wait_seconds=0) for _ in range(2)
    )
    second.connection.execute("create table written (who text)")
    try:
        lease = first.acquire("landed", "job:1")
        numbers: list[int] = []

        def write_slowly() -> None:
            with first.fence_writes(lease):
                first.connection.execute("insert into written values ('the paused holder')")
                # The server ends the transaction that waits here.
                numbers.append(acquire_when_free(second, "landed").number)

        with pytest.raises(Unavailable):
            write_slowly()
        assert numbers == [2]
        assert second.connection.execute("select who from written").fetchall() == []
    finally:
        second.connection.execute("drop table written, wellspring_leases")
        second.close()


@pytest.mark.live
def test_without_postgresql_it_is_unavailable(tmp_path: Path):
    with pytest.raises(Unavailable, match="leases in PostgreSQL"):
        PostgresLocks(f"host={tmp_path} user=postgres dbname=postgres", lease_seconds=1)


def acquire_when_free(locks: PostgresLocks, resource: str) -> Any:
    """Acquire a resource as soon as the lease of its holder has ended."""
    pause = threading.Event()
    for _ in range(100):
        try:
            return locks.acquire(resource, "job:2")
        except Unavailable:
            pause.wait(0.1)
    raise AssertionError("it never became free")
