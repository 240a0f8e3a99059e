"""Interface of a source: a folder where a vendor delivers files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, Protocol

from wellspring.records.record import Digest

ByteProgress = Callable[[int, int], None]
"""Called as (done, total), both in bytes."""


class RemoteFile(NamedTuple):
    """One file in a source. modified: UTC, clock of the source. still_writing: the vendor may still be writing it."""

    name: str
    size: int
    modified: datetime
    still_writing: bool


class FetchedFile(NamedTuple):
    """The content of one file, which did not change during the read. digest: SHA-256 of `content`."""

    content: bytes
    digest: Digest
    modified: datetime


class FileSource(Protocol):
    """Lists and fetches files. Raises Unavailable (no response; retry later), Refused (authentication failed, or the
    host key is not the pinned one)."""

    def list(self) -> tuple[RemoteFile, ...]:
        """List the files, oldest first. Skips dotfiles, `.part`, `.tmp`, folders and links."""
        ...

    def stat(self, name: str) -> RemoteFile:
        """Return the attributes of one file. Raises NotFound."""
        ...

    def fetch(self, name: str, *, progress: ByteProgress | None = None) -> FetchedFile:
        """Read one whole file.

        Raises NotFound if it does not exist, or was deleted during the read; Refused with an `inconclusive` verdict
        (reason `still_writing`) if it changed during the read, or may still be being written.
        """
        ...
