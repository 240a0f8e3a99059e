"""Define locks on named resources: one holder at a time, each with a higher fencing number than the one before."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pydantic import BaseModel

from wellspring.errors import Refused

if TYPE_CHECKING:
    from wellspring.project import Project


class Lease(NamedTuple):
    """The right of one holder to write a resource. number: the fencing number; a later lease has a higher one."""

    resource: str
    holder: str
    number: int


class WriteFence(Protocol):
    """Keeps other holders of a resource out while a process makes its work visible."""

    def fence_writes(self, resource: str) -> AbstractContextManager[None]:
        """Enclose one short write, from its intent in the ledger to its end, and inside it once more the step that
        readers see. Raises Unavailable, before the write, if the lease of this process has ended; Refused if it never
        held the resource."""
        ...


class ReadOnlyFence:
    """The fence of a process that holds no resource: it refuses every write."""

    @contextmanager
    def fence_writes(self, resource: str) -> Generator[None]:
        raise Refused(f"this process only reads, but it would write {resource}", fix="submit a job that writes it")
        yield


class ResourceLocks(Protocol):
    """Lock resources. A lease may end by itself (see the adapter); `fence_writes` is what makes a write safe."""

    @property
    def lease_seconds(self) -> float | None:
        """How long a lease lasts without `renew`; None: until it is released or its process has ended."""
        ...

    def acquire(self, resource: str, holder: str) -> Lease:
        """Return a new lease. Raises Unavailable while another holder has the resource, at the latest after the wait
        time of the adapter."""
        ...

    def renew(self, lease: Lease) -> None:
        """Prolong a lease. Raises Refused if it has ended or the resource has a later holder."""
        ...

    def fence_writes(self, lease: Lease) -> AbstractContextManager[None]:
        """Keep other holders out for the time of one write, and prolong the lease. Raises Refused, before the write, if
        the lease has ended or the resource has a later holder."""
        ...

    def release(self, lease: Lease) -> None:
        """End a lease; a lease that has ended changes nothing."""
        ...

    def close(self) -> None:
        """Release everything that this object holds. Closing again has no effect."""
        ...


def _no_files(_settings: object, _root: Path) -> tuple[Path, ...]:
    return ()


@dataclass(frozen=True)
class LocksAdapter:
    """A kind of locks, registered as an entry point of the group `wellspring.locks`.

    settings: model of `[locks.options]`; its instance is the first argument of `open_locks` and `credential_files`.
    credential_files: the files with which the worker logs in, as absolute paths; the arguments are the settings and the
    project's folder. packages: top-level modules that it imports.
    """

    settings: type[BaseModel]
    open_locks: Callable[[Any, Project], ResourceLocks]
    credential_files: Callable[[Any, Path], tuple[Path, ...]] = _no_files
    packages: tuple[str, ...] = ()
