"""Whether this kernel has Landlock."""

from __future__ import annotations

from wellspring.runtime import landlock


def has_landlock() -> bool:
    """Return whether this kernel has Landlock."""
    return landlock.syscall(444, None, 0, 1) >= 1
