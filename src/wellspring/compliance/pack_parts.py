"""The files of a pack that come from the sealed parts of its story: manifests, entries and documents."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from wellspring.compliance.sealed_parts import SealedParts, StoryPart, parse_manifest
from wellspring.errors import CorruptedError, NotFound
from wellspring.records.record import Digest
from wellspring.trust.ledger.tree import MerkleTree

_ENTRY_FILE = re.compile(r"entries/([0-9]{12})\.json")
_STORY_FILES = frozenset({"story.json", "story.md"})
"""Of a part without parts; the pack has the story of all entries instead."""


def collect_files(parts: Iterable[StoryPart], sealed: SealedParts, tree: MerkleTree) -> dict[str, bytes]:
    """Return the files of parts, and of the parts that they refer to, by name.

    Raises CorruptedError if the tree has another entry than a part names, NotFound if a document is gone.
    """
    manifests = sealed.collect_manifests(parts)
    listed: dict[str, Digest] = {}
    for manifest in manifests.values():
        listed |= {name: digest for name, digest in parse_manifest(manifest).files.items() if name not in _STORY_FILES}
    files = {f"parts/{digest}.json": manifest for digest, manifest in manifests.items()}
    for tree_index, content in tree.iter_entries(list_tree_indexes(listed)):
        files[f"entries/{tree_index:012d}.json"] = content
    documents = {name: digest for name, digest in listed.items() if name not in files}
    texts = sealed.find_texts(documents.values())
    for name, digest in documents.items():
        if digest not in texts:
            raise NotFound(f"the document {name} of a sealed part is gone", fix="restore it from a copy of the project")
        files[name] = texts[digest]
    for name, digest in listed.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise CorruptedError(f"{name} is not the one that was sealed", fix="run `wellspring ledger verify`")
    return files


def list_tree_indexes(files: Mapping[str, object]) -> list[int]:
    """List the indexes of the entries among the files of a pack, ascending."""
    return sorted(int(match[1]) for name in files if (match := _ENTRY_FILE.fullmatch(name)))
