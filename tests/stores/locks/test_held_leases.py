"""The leases of one process: renewed in a thread, checked at each write, and lost once."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from wellspring.errors import Refused, Unavailable
from wellspring.stores.locks.file import FileLocks
from wellspring.stores.locks.held_leases import HeldLeases
from wellspring.stores.locks.port import Lease, ReadOnlyFence

SECONDS = 0.3


class ScriptedLocks:
    """Locks in memory. ended: resources whose lease has ended; is_down: they do not respond."""

    def __init__(self, lease_seconds: float | None = SECONDS) -> None:
        self.lease_seconds = lease_seconds
        self.ended: set[str] = set()
        self.is_down = False
        self.released: list[str] = []
        self.renewed = threading.Semaphore(0)

    def acquire(self, resource: str, holder: str) -> Lease:
        return Lease(resource, holder, 1)

    def renew(self, lease: Lease) -> None:
        if self.is_down:
            raise Unavailable("the locks are down", fix="wait")
        if lease.resource in self.ended:
            raise Refused("ended", fix="acquire it again")
        self.renewed.release()

    @contextmanager
    def fence_writes(self, lease: Lease) -> Generator[None]:
        self.renew(lease)
        yield

    def release(self, lease: Lease) -> None:
        if self.is_down:
            raise Unavailable("the locks are down", fix="wait")
        self.released.append(lease.resource)

    def close(self) -> None:
        return


def test_leases_are_renewed_in_a_thread_until_they_are_released():
    locks = ScriptedLocks()
    with closing(HeldLeases(locks)) as leases:
        leases.acquire_all(["landed", "built"], "job:1")
        for _ in range(8):
            assert locks.renewed.acquire(timeout=30)
    assert sorted(locks.released) == ["built", "landed"]
    assert "leases" not in {thread.name for thread in threading.enumerate()}


def test_locks_that_end_with_their_process_need_no_thread(tmp_path: Path):
    with closing(FileLocks(tmp_path)) as locks, closing(HeldLeases(locks)) as leases:
        leases.acquire_all(["landed"], "job:1")
        assert "leases" not in {thread.name for thread in threading.enumerate()}
        with leases.fence_writes("landed"), leases.fence_writes("landed"):
            pass


@pytest.mark.parametrize("reason", ["ended", "down"])
def test_the_owner_is_called_once_when_a_lease_is_lost(reason: str):
    locks, reports, called = ScriptedLocks(), list[str](), threading.Event()

    def on_lost(error: Unavailable) -> None:
        reports.append(error.what)
        called.set()

    leases = HeldLeases(locks, on_lost=on_lost)
    leases.acquire_all(["landed"], "job:1")
    if reason == "ended":
        locks.ended.add("landed")
    else:
        locks.is_down = True
    assert called.wait(30)
    locks.ended.add("landed")
    locks.is_down = False
    with pytest.raises(Unavailable, match="landed has ended" if reason == "ended" else "could not be renewed"):
        leases.renew_all()
    leases.close()
    assert len(reports) == 1


def test_a_short_outage_of_the_locks_loses_nothing():
    locks = ScriptedLocks(lease_seconds=30)
    with closing(HeldLeases(locks)) as leases:
        leases.acquire_all(["landed"], "job:1")
        locks.is_down = True
        with pytest.raises(Unavailable, match="locks are down"):
            leases.renew_all()
        locks.is_down = False
        with leases.fence_writes("landed"):
            pass


def test_a_write_begins_only_under_a_lease_that_lasts():
    locks = ScriptedLocks(lease_seconds=None)
    with closing(HeldLeases(locks)) as leases:
        leases.acquire_all(["landed"], "job:1")
        with pytest.raises(Refused, match="writes built, which it does not hold"), leases.fence_writes("built"):
            raise AssertionError("the write began")
        locks.ended.add("landed")
        with pytest.raises(Unavailable, match="another process may write it"), leases.fence_writes("landed"):
            raise AssertionError("the write began")


@pytest.mark.parametrize("is_down", [True, False])
def test_a_process_that_was_paused_within_a_write_is_stopped_before_the_pointer(is_down: bool):
    locks, lost = ScriptedLocks(lease_seconds=None), list[Unavailable]()
    with closing(HeldLeases(locks, on_lost=lost.append)) as leases:
        leases.acquire_all(["landed"], "job:1")
        with leases.fence_writes("landed"):
            locks.is_down = is_down
            locks.ended.add("landed")
            with pytest.raises(Unavailable, match="another process may write it"), leases.fence_writes("landed"):
                raise AssertionError("the pointer moved")
        assert len(lost) == 1


def test_a_release_that_fails_leaves_the_result_of_the_process():
    locks = ScriptedLocks(lease_seconds=None)
    leases = HeldLeases(locks)
    leases.acquire_all(["landed"], "job:1")
    locks.is_down = True
    leases.close()
    assert locks.released == []


def test_a_reader_writes_nothing():
    with pytest.raises(Refused, match="only reads"), ReadOnlyFence().fence_writes("landed"):
        raise AssertionError("the write began")
