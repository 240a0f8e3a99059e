"""Sealed parts of stories: a story that refers to a sealed one needs only its own entries.

The manifest of a sealed story names its entries and documents by digest, and the parts that it refers to by the digest
of their manifests. The ledger has that digest in a `seal` entry, and the folder here has the manifest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from wellspring.errors import CorruptedError, NotFound
from wellspring.records.record import Digest
from wellspring.records.trust import IndexedEntry
from wellspring.stores.objects.port import ContentStore
from wellspring.trust.ledger.index import LedgerIndex

PROOF_ACTIONS = frozenset({"seal", "prove"})
"""Actions that are left out of stories: otherwise sealing a story would change it."""
SIZE_FACT = "size"
"""Fact of a seal: the number of entries in the ledger when the story was collected."""


class StoryPart(NamedTuple):
    """A sealed story. digest: of its manifest. size: entries in the ledger when it was collected; 0 if not needed."""

    subject: str
    digest: Digest
    size: int = 0


class PartContents(NamedTuple):
    """What a manifest names. files: digest by name. parts: digest of the manifest by subject."""

    files: Mapping[str, Digest]
    parts: Mapping[str, Digest]

    @property
    def tree_indexes(self) -> tuple[int, ...]:
        """The indexes of its entries in the log."""
        return tuple(int(match[1]) for name in self.files if (match := re.fullmatch(r"entries/(\d+)\.json", name)))


class SealedParts:
    """The manifests of sealed stories, by digest.

    find_texts: returns the bytes of documents by their SHA-256, for those that it has.
    """

    def __init__(
        self,
        index: LedgerIndex,
        manifests: ContentStore,
        find_texts: Callable[[Iterable[Digest]], Mapping[Digest, bytes]],
    ) -> None:
        self._index = index
        self._manifests = manifests
        self.find_texts = find_texts

    def save_manifest(self, manifest: bytes) -> None:
        """Store the manifest of a story, before its seal."""
        self._manifests.put(manifest)

    def read_manifest(self, digest: Digest) -> bytes:
        """Return a manifest. Raises NotFound, CorruptedError."""
        return self._manifests.get(digest)

    def find_first(self, subject: str, *, limit: int | None = None) -> StoryPart | None:
        """Return the first sealed part of a subject that has all entries about it, or None.

        limit: only the entries up to this index count. The first part is always the same one, so a story that refers
        to it is sealed once.
        """
        part = next(iter(self._list_parts(subject, limit)), None)
        if part is None:
            return None
        later = self._index.list_entries(subject=subject, after=part.size)
        stale = any(
            indexed.entry.action not in PROOF_ACTIONS and (limit is None or indexed.index <= limit) for indexed in later
        )
        return None if stale else part

    def find_latest(self, subject: str) -> StoryPart | None:
        """Return the newest sealed part of a subject; entries about it may have followed."""
        return next(iter(reversed(self._list_parts(subject, None))), None)

    def collect_manifests(self, parts: Iterable[StoryPart]) -> dict[Digest, bytes]:
        """Return the manifests of parts, and of the parts that they refer to, by digest."""
        pending, manifests = [part.digest for part in parts], dict[Digest, bytes]()
        while pending:
            digest = pending.pop()
            if digest not in manifests:
                manifests[digest] = self.read_manifest(digest)
                pending += parse_manifest(manifests[digest]).parts.values()
        return manifests

    def _list_parts(self, subject: str, limit: int | None) -> list[StoryPart]:
        seals = self._index.list_entries(subject=subject, action="seal", phase="done")
        return [
            part
            for seal in seals
            if (limit is None or seal.index <= limit) and (part := self._stored_part(seal)) is not None
        ]

    def _stored_part(self, seal: IndexedEntry) -> StoryPart | None:
        size, digest = seal.entry.facts.get(SIZE_FACT), next((ref.digest for ref in seal.entry.outputs), None)
        if not isinstance(size, int) or digest is None:
            return None
        try:
            self.read_manifest(digest)
        except NotFound:
            return None
        return StoryPart(seal.entry.subject, digest, size)


def parse_manifest(manifest: bytes) -> PartContents:
    """Parse a stored manifest. Raises CorruptedError."""
    value = json.loads(manifest)
    if not isinstance(value, dict) or not isinstance(value.get("files"), dict):
        raise CorruptedError("a sealed manifest cannot be read", fix="restore the folder of sealed parts from a copy")
    return PartContents(value["files"], value.get("parts", {}))
