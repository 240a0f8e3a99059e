"""What the enclave may ask of a place where vendors leave files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, Protocol

from wellspring.records.record import Digest

Progress = Callable[[int, int], None]
"""Called as (done, total), both in bytes."""


class Found(NamedTuple):
    """One file as the source shows it. modified: UTC, by the source's clock. settling: perhaps still being written."""

    name: str
    size: int
    modified: datetime
    settling: bool


class Fetched(NamedTuple):
    """One file's bytes, unchanged from the first byte read to the last. digest: SHA-256 of `content`."""

    content: bytes
    digest: Digest
    modified: datetime


class Source(Protocol):
    """Lists and fetches files. Raises Unavailable (no answer; retry later), Refused (it does not know us, or is not
    the one that was pinned)."""

    def list(self) -> tuple[Found, ...]:
        """List the files now, oldest first; dotfiles, `.part`, `.tmp`, folders and links are left alone."""
        ...

    def look(self, name: str) -> Found:
        """Look at one file. Raises NotFound."""
        ...

    def fetch(self, name: str, *, progress: Progress | None = None) -> Fetched:
        """Read one whole file.

        Raises NotFound if it is not there, or no longer when the last byte was read; Refused with an `inconclusive`
        verdict (reason `still_written`) if it changed while it was read, or is still settling.
        """
        ...
