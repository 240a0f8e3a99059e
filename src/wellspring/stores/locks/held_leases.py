"""The leases that one process holds: renewed until it ends, and checked while it makes its work visible."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress

from wellspring.errors import Refused, Unavailable
from wellspring.stores.locks.port import Lease, ResourceLocks

_RENEWALS_PER_LEASE = 3


class HeldLeases:
    """Holds leases, and is the write fence of its process. Safe for threads: one call at a time uses the locks.

    on_lost: called once, in the thread that finds a lease ended. It may end the process; the error is raised after it.
    """

    def __init__(self, locks: ResourceLocks, *, on_lost: Callable[[Unavailable], None] | None = None) -> None:
        self._locks = locks
        self._on_lost = on_lost
        self._leases: dict[str, Lease] = {}
        # A renewal waits for a write, which renews its own lease; writes of one thread may be nested.
        self._turn = threading.RLock()
        self._open_writes = 0
        self._lost: Unavailable | None = None
        self._closing = threading.Event()
        self._renewer: threading.Thread | None = None

    def acquire_all(self, resources: Iterable[str], holder: str) -> None:
        """Acquire resources and renew their leases from now on. Raises Unavailable while another holder has one."""
        with self._turn:
            for resource in sorted(resources):
                self._leases[resource] = self._locks.acquire(resource, holder)
        if self._leases and self._locks.lease_seconds is not None and self._renewer is None:
            self.renew_all()
            self._renewer = threading.Thread(
                target=self._renew_until_closed, args=(self._locks.lease_seconds,), name="leases", daemon=True
            )
            self._renewer.start()

    @contextmanager
    def fence_writes(self, resource: str) -> Generator[None]:
        """See `WriteFence`. Inside another write it checks again: the process may have been paused since."""
        with self._turn, ExitStack() as stack:
            if self._lost is not None:
                raise self._lost
            lease = self._leases.get(resource)
            if lease is None:
                raise Refused(
                    f"this process writes {resource}, which it does not hold",
                    fix="add it to the resources of the job's kind",
                )
            try:
                stack.enter_context(self._locks.fence_writes(lease))
            except Refused:
                raise self._report_loss(_describe_end(resource)) from None
            except Unavailable:
                if self._open_writes:
                    # The locks have ended the write around this one.
                    raise self._report_loss(_describe_end(resource)) from None
                raise
            self._open_writes += 1
            try:
                yield
            finally:
                self._open_writes -= 1

    def renew_all(self) -> None:
        """Prolong every lease. Raises Unavailable if one has ended, or if the locks do not respond."""
        with self._turn:
            for lease in self._leases.values():
                try:
                    self._locks.renew(lease)
                except Refused:
                    raise self._report_loss(_describe_end(lease.resource)) from None

    def close(self) -> None:
        """End the renewal and release everything. Closing again has no effect."""
        self._closing.set()
        if self._renewer is not None and self._renewer is not threading.current_thread():
            self._renewer.join()
        with self._turn:
            while self._leases:
                _, lease = self._leases.popitem()
                # It ends by itself when the locks do not respond; what the process did stays done.
                with suppress(Unavailable):
                    self._locks.release(lease)

    def _renew_until_closed(self, lease_seconds: float) -> None:
        valid_until = time.monotonic() + lease_seconds
        while not self._closing.wait(lease_seconds / _RENEWALS_PER_LEASE):
            attempted_at = time.monotonic()
            try:
                self.renew_all()
                valid_until = attempted_at + lease_seconds
            except Unavailable as exc:
                if self._lost is None and time.monotonic() >= valid_until:
                    self._report_loss(f"the leases of this process could not be renewed in time ({exc.what})")
            if self._lost is not None:
                return

    def _report_loss(self, what: str) -> Unavailable:
        with self._turn:
            if self._lost is None:
                self._lost = Unavailable(what, fix="run it again: what it had not published yet is done again")
                if self._on_lost is not None:
                    self._on_lost(self._lost)
            return self._lost


def _describe_end(resource: str) -> str:
    return f"the lease on {resource} has ended: another process may write it now"
