"""The Merkle tree of RFC 6962, seen by a verifier: hashes, roots, and the two proofs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

EMPTY = hashlib.sha256(b"").digest()


def leaf(entry: bytes) -> bytes:
    """Hash one entry into its leaf: SHA-256(0x00 || entry).    Source: RFC 6962, section 2.1."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into the one above them: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Iterable[bytes]) -> bytes:
    """Compute the root over leaf hashes; SHA-256 of nothing for an empty tree."""
    complete: list[tuple[int, bytes]] = []  # (leaves below, hash) of complete subtrees, the largest first
    for one in leaves:
        size, top = 1, one
        while complete and complete[-1][0] == size:
            top = node(complete.pop()[1], top)
            size *= 2
        complete.append((size, top))
    if not complete:
        return EMPTY
    above = complete.pop()[1]
    while complete:
        above = node(complete.pop()[1], above)
    return above


def included(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], tree_root: bytes) -> bool:
    """Say whether the proof leads from this leaf at `index` to the root of a tree of `size` leaves.

    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    at, last, above = index, size - 1, leaf_hash
    for step in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            above = node(step, above)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            above = node(above, step)
        at, last = at >> 1, last >> 1
    return last == 0 and above == tree_root


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether the proof shows that a tree of `old` leaves is the beginning of one of `new` leaves.

    The proof is empty when old is 0 or equals new.    Source: RFC 9162, section 2.1.4.2.
    """
    if not 0 <= old <= new:
        return False
    if old == 0:
        return not proof and old_root == EMPTY
    if old == new:
        return not proof and old_root == new_root
    steps = list(proof)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    below = above = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            below, above = node(step, below), node(step, above)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            above = node(above, step)
        at, last = at >> 1, last >> 1
    return last == 0 and below == old_root and above == new_root
