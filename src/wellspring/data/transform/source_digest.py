"""Digest of the source files of a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from wellspring.records.record import Digest
from wellspring_verify import canonical

_DBT_OUTPUT_FOLDERS = {"target", "logs"}
"""Output folders of dbt at the top of its project; deeper folders of these names are source folders."""


def is_source_file(path: Path, folder: Path) -> bool:
    """Return whether a file below a folder is a source file and not the output of a tool."""
    parts = path.relative_to(folder).parts
    return parts[0] not in _DBT_OUTPUT_FOLDERS and not any(
        part == "__pycache__" or part.startswith(".") for part in parts
    )


def code_digest(folder: Path) -> Digest:
    """Hash the source files of a folder: SHA-256 of the canonical JSON of {path: SHA-256 of the file}."""
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and is_source_file(path, folder)
    }
    return hashlib.sha256(canonical.dumps_canonical(files)).hexdigest()
