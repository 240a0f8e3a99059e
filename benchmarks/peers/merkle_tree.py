"""pymerkle: a Merkle tree library, with its tree in memory and its default settings."""

from __future__ import annotations

import time
from collections.abc import Sequence


def measure_rate(lines: Sequence[bytes]) -> float:
    """Return appends per second of a tree in memory, whose entries are not durable."""
    from pymerkle import InmemoryTree

    tree = InmemoryTree(algorithm="sha256")
    started = time.perf_counter()
    for line in lines:
        tree.append_entry(line)
    return len(lines) / (time.perf_counter() - started)
