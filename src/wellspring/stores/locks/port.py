"""Define locks on named resources: one holder at a time, each with a higher fencing number than the one before."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol


class Lease(NamedTuple):
    """The right of one holder to write a resource. number: the fencing number; a later lease has a higher one."""

    resource: str
    holder: str
    number: int


class ResourceLocks(Protocol):
    """Lock resources. A lease may end by itself (see the adapter); `fence_writes` is what makes a write safe."""

    def acquire(self, resource: str, holder: str) -> Lease:
        """Return a new lease. Raises Unavailable while another holder has the resource, at the latest after the wait
        time of the adapter."""
        ...

    def renew(self, lease: Lease) -> None:
        """Prolong a lease. Raises Refused if it has ended or the resource has a later holder."""
        ...

    def fence_writes(self, lease: Lease) -> AbstractContextManager[None]:
        """Keep other holders out for the time of one write. Raises Refused, before the write, if the lease has ended or
        the resource has a later holder."""
        ...

    def release(self, lease: Lease) -> None:
        """End a lease; a lease that has ended changes nothing."""
        ...

    def close(self) -> None:
        """Release everything that this object holds. Closing again has no effect."""
        ...
