"""Whether this kernel has Landlock."""

from __future__ import annotations

from wellspring.runtime import landlock


def has_landlock() -> bool:
    """Return whether this kernel has Landlock."""
    return landlock.read_abi_version() >= 1
