"""What the enclave may ask of a place where vendors leave files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, Protocol

from wellspring.records.record import Digest

ByteProgress = Callable[[int, int], None]
"""Called as (done, total), both in bytes."""


class RemoteFile(NamedTuple):
    """One file as the source shows it. modified: UTC, by the source's clock. settling: perhaps still being written."""

    name: str
    size: int
    modified: datetime
    still_writing: bool


class FetchedFile(NamedTuple):
    """One file's bytes, unchanged from the first byte read to the last. digest: SHA-256 of `content`."""

    content: bytes
    digest: Digest
    modified: datetime


class FileSource(Protocol):
    """Lists and fetches files. Raises Unavailable (no answer; retry later), Refused (it does not know us, or is not
    the one that was pinned)."""

    def list(self) -> tuple[RemoteFile, ...]:
        """List the files now, oldest first; dotfiles, `.part`, `.tmp`, folders and links are left alone."""
        ...

    def stat(self, name: str) -> RemoteFile:
        """Look at one file. Raises NotFound."""
        ...

    def fetch(self, name: str, *, progress: ByteProgress | None = None) -> FetchedFile:
        """Read one whole file.

        Raises NotFound if it is not there, or no longer when the last byte was read; Refused with an `inconclusive`
        verdict (reason `still_written`) if it changed while it was read, or is still settling.
        """
        ...
