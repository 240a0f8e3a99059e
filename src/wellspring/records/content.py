"""The content of a file as a format reads it: a binary file of known size, at any position."""

from __future__ import annotations

import io
from typing import Protocol


class FileContent(Protocol):
    """A file that a format reads from its start, in pieces. Keeps little of it in memory."""

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        ...

    def read(self, size: int = -1, /) -> bytes:
        """Return at most this many bytes (-1: all) from the position on; no bytes at the end only."""
        ...

    def seek(self, offset: int, /) -> int:
        """Set the position, counted from the start."""
        ...

    def tell(self) -> int:
        """Return the position."""
        ...


class BytesContent(io.BytesIO):
    """The content of a small file, such as a sample, in memory."""

    @property
    def size(self) -> int:
        return len(self.getbuffer())


class SeekableContent(io.RawIOBase):
    """The content as a file of the standard library, for readers that seek from its end, as that of Parquet does."""

    def __init__(self, content: FileContent) -> None:
        super().__init__()
        self._content = content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._content.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._content.tell(), io.SEEK_END: self._content.size}[whence]
        return self._content.seek(start + offset)

    def tell(self) -> int:
        return self._content.tell()
