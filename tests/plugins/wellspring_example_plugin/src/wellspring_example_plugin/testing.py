"""A folder in which the behavior suite of sources delivers files, and changes them while they are read."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from wellspring.stable import Clock, RemoteFile, SourceContext, SystemClock
from wellspring_example_plugin.folder import FolderSettings, FolderSource, FolderStream


class FolderServer:
    """on_read: called with (name, offset) before each block is read. reads: how many blocks were read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.on_read: Callable[[str, int], None] | None = None
        self.reads = 0

    def put(self, name: str, content: bytes, *, modified: datetime | None = None) -> None:
        path = self.root / "inbox" / name
        path.write_bytes(content)
        if modified is not None:
            os.utime(path, (modified.timestamp(), modified.timestamp()))

    def remove(self, name: str) -> None:
        (self.root / "inbox" / name).unlink(missing_ok=True)

    def source(
        self, *, settle_seconds: float = 0, clock: Clock | None = None, max_bytes: int = 1 << 30
    ) -> "ObservedSource":
        settings = FolderSettings(
            kind="folder", folder=Path("inbox"), settle_seconds=settle_seconds, max_bytes=max_bytes
        )
        return ObservedSource(self, SourceContext("vendor", settings, self.root, {}, clock or SystemClock()))


class ObservedStream:
    def __init__(self, server: FolderServer, stream: FolderStream) -> None:
        self._server, self._stream, self._offset = server, stream, 0

    @property
    def file(self) -> RemoteFile:
        return self._stream.file

    def read(self, size: int, /) -> bytes:
        self._server.reads += 1
        if self._server.on_read is not None:
            self._server.on_read(self.file.name, self._offset)
        block = self._stream.read(size)
        self._offset += len(block)
        return block


class ObservedSource:
    def __init__(self, server: FolderServer, context: SourceContext) -> None:
        self.name = context.name
        self._server, self._source = server, FolderSource(context)

    def list(self) -> tuple[RemoteFile, ...]:
        return self._source.list()

    def stat(self, name: str) -> RemoteFile:
        return self._source.stat(name)

    @contextmanager
    def open(self, name: str) -> Iterator[ObservedStream]:
        with self._source.open(name) as stream:
            yield ObservedStream(self._server, stream)


@contextmanager
def running_folder(root: Path) -> Iterator[FolderServer]:
    """Create the folder."""
    (root / "inbox").mkdir()
    yield FolderServer(root)
