"""A running server of each kind of source, for the behavior suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tests.builders.plugins import list_registered_builders
from tests.builders.s3_server import running_s3
from tests.builders.sftp_vendor import OnRead, Vendor
from wellspring.data.sources.port import FileSource
from wellspring.records.clock import Clock


class SourceServer(Protocol):
    """A place where files are delivered. on_read: called with (name, offset) before each block is sent.

    reads: how many blocks were sent so far.
    """

    on_read: OnRead | None
    reads: int

    def put(self, name: str, content: bytes, *, modified: datetime | None = None) -> object: ...

    def remove(self, name: str) -> None: ...

    def source(
        self, *, settle_seconds: float = 0, clock: Clock | None = None, max_bytes: int = 1 << 30
    ) -> FileSource: ...


@contextmanager
def running_sftp(folder: Path) -> Iterator[SourceServer]:
    """Start an SFTP server."""
    with Vendor(folder / "vendor").open() as vendor:
        yield vendor


SERVERS: Mapping[str, Callable[[Path], AbstractContextManager[SourceServer]]] = {
    "s3": running_s3,
    "sftp": running_sftp,
    **list_registered_builders("wellspring.tests.sources"),
}
"""By kind."""
