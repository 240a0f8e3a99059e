"""Proofs of a Merkle tree, computed from all of its leaves."""

from __future__ import annotations

from wellspring_verify import merkle


def subproof(old: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """RFC 6962, section 2.1.2, word for word."""
    if old == len(leaves):
        return [] if whole else [merkle.compute_root(leaves)]
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    if old <= middle:
        return [*subproof(old, leaves[:middle], whole), merkle.compute_root(leaves[middle:])]
    return [*subproof(old - middle, leaves[middle:], False), merkle.compute_root(leaves[:middle])]
