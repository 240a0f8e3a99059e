"""Limit the memory of a process, so that one that needs too much fails alone."""

from __future__ import annotations

import resource


def limit_memory(memory_bytes: int) -> None:
    """Limit the private memory of this process and of those that it starts; 0: no limit.

    Python, NumPy and Arrow then raise MemoryError; Polars ends the process (SIGABRT).
    """
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
