"""What the tree holds of an entry: its line, or for the actions of an answer only the digest of its line."""

from __future__ import annotations

import hashlib

from wellspring.records.trust import Entry
from wellspring_verify.leaf import LineLeaf

HASHED_ACTIONS = frozenset({"predict", "read_features"})
"""Actions of which the tree holds only a digest: there is an entry for each answer, and its line goes into a pack."""


def encode_leaf(entry: Entry, line: bytes) -> bytes:
    """Return the bytes that the tree holds of an entry. line: its bytes in the journal."""
    if entry.action not in HASHED_ACTIONS:
        return line
    return LineLeaf(entry.service, entry.sequence, hashlib.sha256(line).hexdigest()).encode()
