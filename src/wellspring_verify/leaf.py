"""The leaf of an entry whose line is not in the log itself: it holds the SHA-256 of the line.

The log has every entry as one leaf. Most leaves are the bytes of the entry, its line. For frequent actions the leaf
names the entry and the digest of its line, and a pack has the line as a document.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_FORM = re.compile(rb'\{"id":"([a-z][a-z0-9_-]*):(0|[1-9][0-9]{0,15})","line":"([0-9a-f]{64})"\}')


class LineLeaf(NamedTuple):
    """A leaf that holds the digest of a line. service, sequence: of the entry. digest: SHA-256 of its line, hex."""

    service: str
    sequence: int
    digest: str

    @property
    def id(self) -> str:
        return f"{self.service}:{self.sequence}"

    @property
    def document(self) -> str:
        """The name of the file in a pack that has the line."""
        return f"documents/line/{self.id}/{self.digest}"

    def encode(self) -> bytes:
        """Return the bytes of the leaf, which are canonical JSON."""
        return f'{{"id":"{self.id}","line":"{self.digest}"}}'.encode()


def parse_leaf(content: bytes) -> LineLeaf | None:
    """Return the leaf that holds a digest, or None for the bytes of anything else, such as an entry."""
    match = _FORM.fullmatch(content)
    return LineLeaf(match[1].decode(), int(match[2]), match[3].decode()) if match else None
