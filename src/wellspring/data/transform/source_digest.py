"""Which files of a folder are code, and the one digest of them all."""

from __future__ import annotations

import hashlib
from pathlib import Path

from wellspring.records.record import Digest
from wellspring_verify import canonical

_DBT_OUTPUT_FOLDERS = {"target", "logs"}
"""What dbt leaves at the top of its project. Deeper down a folder of that name is somebody's own."""


def is_source_file(path: Path, folder: Path) -> bool:
    """Say whether a file below a folder is somebody's work, and not what tools leave beside it."""
    parts = path.relative_to(folder).parts
    return parts[0] not in _DBT_OUTPUT_FOLDERS and not any(
        part == "__pycache__" or part.startswith(".") for part in parts
    )


def code_digest(folder: Path) -> Digest:
    """Hash a folder of code: SHA-256 of the canonical JSON of {path: SHA-256 of the file}, without what tools leave."""
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and is_source_file(path, folder)
    }
    return hashlib.sha256(canonical.dumps_canonical(files)).hexdigest()
