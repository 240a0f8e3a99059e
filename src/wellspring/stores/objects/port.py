"""Define the storage of bytes as protocols: by content hash and by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class ContentStore(Protocol):
    """Store bytes by content hash (SHA-256, hex). Writes are atomic and durable; objects never change."""

    def put(self, content: bytes) -> str:
        """Store the bytes and return their digest; a repeated call changes nothing."""
        ...

    def get(self, digest: str) -> bytes:
        """Return the bytes. Raises NotFound, or CorruptedError if they do not match their digest."""
        ...


class NamedBlobStore(Protocol):
    """Store bytes by name: relative, `/`-separated, without `.` or `..` parts. Writes are atomic and durable."""

    def write_once(self, name: str, content: bytes) -> None:
        """Create the blob; the same bytes again change nothing. Raises CorruptedError if the name has other bytes."""
        ...

    def replace(self, name: str, content: bytes) -> None:
        """Create or replace the blob: a reader gets the old bytes or the new bytes, never a mix."""
        ...

    def read(self, name: str) -> bytes:
        """Return the bytes. Raises NotFound."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the names below a folder (`tile/0`), sorted."""
        ...

    def remove(self, name: str) -> None:
        """Remove the blob if it exists."""
        ...
