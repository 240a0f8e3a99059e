"""Find files that their author expects to be read, and that are not."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


def list_unloaded_files(folder: Path, glob: str, *, suffixes: Collection[str]) -> list[Path]:
    """List the files below a folder that have one of these suffixes, in any case, and that `glob` does not find.

    They are in a subfolder, or are named otherwise; their author expects them to be read. suffixes: in lower case.
    """
    loaded = set(folder.glob(glob))
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path not in loaded)
