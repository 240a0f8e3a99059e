"""Read the lines of which the tree holds only the digest: from the line packs, or from the journals before packing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from wellspring.errors import CorruptedError, NotFound
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.line_pack import LinePack
from wellspring.trust.ledger.tree import TILE_WIDTH, MerkleTree
from wellspring_verify.leaf import LineLeaf, parse_leaf

PACKS_FOLDER = "packs"
"""Folder beside the tiles; each line pack is a file that is named by its SHA-256."""
_FIX = "run `wellspring ledger verify`; keep everything"


class PackRange(NamedTuple):
    """Where the lines with tree indexes from first to last are: in the pack with this SHA-256."""

    first: int
    last: int
    digest: str


class LineReader:
    """Reads lines by their index in the tree. Each is compared with the digest in its leaf, or in its pack's entry.

    find_pack: returns the first pack whose last index is at least the given one, or None.
    """

    def __init__(self, tree: MerkleTree, journals: Path, find_pack: Callable[[int], PackRange | None]) -> None:
        self._tree = tree
        self._journals = journals
        self._find_pack = find_pack
        self._newest_pack: tuple[str, LinePack] | None = None

    def read_line(self, tree_index: int) -> bytes:
        """Return one line. Raises CorruptedError if it is gone or differs."""
        leaf = parse_leaf(self._tree.read_entry(tree_index))
        if leaf is None:
            raise CorruptedError(f"entry {tree_index} of the ledger holds no digest of a line", fix=_FIX)
        # Twice from the packs: the line may have been packed and removed from its journal between two looks.
        line = self._find_packed(tree_index) or self._next_line({}, leaf) or self._find_packed(tree_index)
        return _check_line(leaf, tree_index, line)

    def iter_lines(self, first: int, end: int, *, skip_damaged: bool = False) -> Iterator[tuple[int, bytes]]:
        """Yield (tree index, line) of the entries from `first` to before `end` whose line is not in the tree.

        skip_damaged: leave out what cannot be read; `audit` tells about it. Otherwise it raises CorruptedError.
        """
        position = first
        while position < end and (pack := self._find_pack(position)) is not None:
            try:
                for tree_index, line in self.open_pack(pack).iter_lines(position):
                    if tree_index < end:
                        yield tree_index, line
            except CorruptedError:
                if not skip_damaged:
                    raise
            position = max(position, pack.last + 1)
        if position < end:
            yield from self._iter_journaled(position, end, skip_damaged)

    def open_pack(self, pack: PackRange) -> LinePack:
        """Read a pack, and compare it with its digest. Raises CorruptedError."""
        if self._newest_pack is None or self._newest_pack[0] != pack.digest:
            try:
                content = self._tree.paths.read(pack_name(pack.digest))
            except NotFound:
                raise CorruptedError(f"the line pack {pack.digest[:12]} is missing", fix=_FIX) from None
            if hashlib.sha256(content).hexdigest() != pack.digest:
                raise CorruptedError(f"the line pack {pack.digest[:12]} was changed", fix=_FIX)
            self._newest_pack = (pack.digest, LinePack(content))
        return self._newest_pack[1]

    def _find_packed(self, tree_index: int) -> bytes | None:
        pack = self._find_pack(tree_index)
        return self.open_pack(pack).find_line(tree_index) if pack and pack.first <= tree_index else None

    def _iter_journaled(self, first: int, end: int, skip_damaged: bool) -> Iterator[tuple[int, bytes]]:
        readers: dict[str, Iterator[tuple[int, bytes]]] = {}
        for tree_index, leaf in self._iter_leaves(first, end):
            line = self._next_line(readers, leaf)
            try:
                yield tree_index, _check_line(leaf, tree_index, line or self._find_packed(tree_index))
            except CorruptedError:
                if not skip_damaged:
                    raise

    def _next_line(self, readers: dict[str, Iterator[tuple[int, bytes]]], leaf: LineLeaf) -> bytes | None:
        """Return the line of a leaf from its journal, which is read on from the last one; None if it is not there."""
        if leaf.service not in readers:
            readers[leaf.service] = journal.read_lines(self._journals, leaf.service, leaf.sequence - 1)
        try:
            return next((line for sequence, line in readers[leaf.service] if sequence == leaf.sequence), None)
        except (CorruptedError, FileNotFoundError):
            # Its segment may have been removed meanwhile; then a pack has the line.
            del readers[leaf.service]
            return None

    def _iter_leaves(self, first: int, end: int) -> Iterator[tuple[int, LineLeaf]]:
        for number in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)):
            for tree_index, content in enumerate(self._tree.read_bundle(number, end), start=number * TILE_WIDTH):
                if tree_index >= first and (leaf := parse_leaf(content)) is not None:
                    yield tree_index, leaf


def pack_name(digest: str) -> str:
    """Return the name of a line pack in the ledger's folder."""
    return f"{PACKS_FOLDER}/{digest}"


def _check_line(leaf: LineLeaf, tree_index: int, line: bytes | None) -> bytes:
    if line is not None and hashlib.sha256(line).hexdigest() == leaf.digest:
        return line
    state = "changed" if line else "missing"
    raise CorruptedError(f"the line of {leaf.id}, entry {tree_index} of the ledger, is {state}", fix=_FIX)
