"""Compute and verify the Merkle tree of RFC 6962: hashes, roots, inclusion and consistency proofs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()


def hash_leaf(entry: bytes) -> bytes:
    """Hash an entry into its leaf: SHA-256(0x00 || entry).    Source: RFC 6962, section 2.1."""
    return hashlib.sha256(b"\x00" + entry).digest()


def hash_node(left_hash: bytes, right_hash: bytes) -> bytes:
    """Hash two subtrees into their parent: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left_hash + right_hash).digest()


def compute_root(leaf_hashes: Iterable[bytes]) -> bytes:
    """Compute the root over leaf hashes; the SHA-256 of an empty string for an empty tree."""
    compact_range = CompactRange()
    for leaf_hash in leaf_hashes:
        compact_range.add_leaf(leaf_hash)
    return compact_range.compute_root()


class CompactRange:
    """The first leaves of a tree as the hashes of its complete subtrees: enough to add leaves and compute the root."""

    def __init__(self) -> None:
        self.size = 0
        # (leaves below, hash) of complete subtrees, the largest first
        self._subtrees: list[tuple[int, bytes]] = []

    def copy(self) -> CompactRange:
        """Return a range with the same leaves."""
        duplicate = CompactRange()
        duplicate.size, duplicate._subtrees = self.size, list(self._subtrees)
        return duplicate

    def add_leaf(self, leaf_hash: bytes) -> None:
        """Add the hash of the next leaf."""
        size, subtree_hash = 1, leaf_hash
        while self._subtrees and self._subtrees[-1][0] == size:
            subtree_hash = hash_node(self._subtrees.pop()[1], subtree_hash)
            size *= 2
        self._subtrees.append((size, subtree_hash))
        self.size += 1

    def compute_root(self) -> bytes:
        """Return the root over all leaves; the SHA-256 of an empty string for none."""
        if not self._subtrees:
            return EMPTY_ROOT
        *rest, (_, root_hash) = self._subtrees
        for _, subtree_hash in reversed(rest):
            root_hash = hash_node(subtree_hash, root_hash)
        return root_hash


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root_hash: bytes) -> bool:
    """Return whether the proof leads from the leaf at `index` to the root of a tree of `size` leaves.

    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    node_index, last_index, current_hash = index, size - 1, leaf_hash
    for step in proof:
        if last_index == 0:
            return False
        if node_index & 1 or node_index == last_index:
            current_hash = hash_node(step, current_hash)
            while not node_index & 1 and node_index:
                node_index, last_index = node_index >> 1, last_index >> 1
        else:
            current_hash = hash_node(current_hash, step)
        node_index, last_index = node_index >> 1, last_index >> 1
    return last_index == 0 and current_hash == root_hash


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether the proof shows that a tree of `old` leaves is the beginning of one of `new` leaves.

    The proof is empty when old is 0 or equals new.    Source: RFC 9162, section 2.1.4.2.
    """
    if not 0 <= old <= new:
        return False
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    if old == new:
        return not proof and old_root == new_root
    steps = list(proof)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        return False
    node_index, last_index = old - 1, new - 1
    while node_index & 1:
        node_index, last_index = node_index >> 1, last_index >> 1
    old_hash = new_hash = steps[0]
    for step in steps[1:]:
        if last_index == 0:
            return False
        if node_index & 1 or node_index == last_index:
            old_hash, new_hash = hash_node(step, old_hash), hash_node(step, new_hash)
            while not node_index & 1 and node_index:
                node_index, last_index = node_index >> 1, last_index >> 1
        else:
            new_hash = hash_node(new_hash, step)
        node_index, last_index = node_index >> 1, last_index >> 1
    return last_index == 0 and old_hash == old_root and new_hash == new_root
