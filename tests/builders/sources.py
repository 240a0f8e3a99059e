"""A running server of each kind of source, for the behavior suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tests.builders.plugins import find_suite_builders
from tests.builders.sftp_vendor import OnRead
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


SERVERS: Mapping[str, Callable[[Path], AbstractContextManager[SourceServer]]] = find_suite_builders("sources")
"""By kind. Each gets a folder of its own."""
