"""What the house may ask of a place where bytes rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class ContentStore(Protocol):
    """Bytes by content hash (SHA-256, hex); writes are atomic, durable and final."""

    def put(self, content: bytes) -> str:
        """Keep the bytes and return their digest; keeping them again changes nothing."""
        ...

    def get(self, digest: str) -> bytes:
        """Return the bytes. Raises NotFound, or Broken if they no longer hash to their name."""
        ...


class NamedBlobStore(Protocol):
    """Named bytes. A name is relative, `/`-separated, without `.` or `..` parts. Writes are atomic and durable."""

    def write_once(self, name: str, content: bytes) -> None:
        """Create it; the same bytes again change nothing. Raises Broken if other bytes stand under that name."""
        ...

    def replace(self, name: str, content: bytes) -> None:
        """Create or replace it: a reader sees the old bytes or the new, never a mix."""
        ...

    def read(self, name: str) -> bytes:
        """Return the bytes. Raises NotFound."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the names under a folder (`tile/0`), sorted."""
        ...

    def remove(self, name: str) -> None:
        """Remove it; nothing happens if it is not there."""
        ...
