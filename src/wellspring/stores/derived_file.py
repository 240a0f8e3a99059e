"""Open an SQLite file of derived data: a damaged file, or one of another format, is replaced by an empty one."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def open_derived_file(path: Path | None, schema: str, *, format_version: int) -> sqlite3.Connection:
    """Open the file with its schema, and create its folder. path: None keeps the data in memory.

    format_version: the value of `user_version` that the schema sets.
    """
    if path is None:
        return _open_file(":memory:", schema, format_version)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _open_file(path, schema, format_version)
    except sqlite3.DatabaseError:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _open_file(path, schema, format_version)


def _open_file(name: Path | str, schema: str, format_version: int) -> sqlite3.Connection:
    file = sqlite3.connect(name, timeout=10, check_same_thread=False)
    if file.execute("pragma user_version").fetchone()[0] not in (0, format_version):
        file.close()
        raise sqlite3.DatabaseError("another format")
    # What a power loss takes away is derived again.
    file.executescript("pragma journal_mode = wal; pragma synchronous = normal;" + schema)
    return file
