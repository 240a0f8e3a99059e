"""Digest of the source files of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
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


def list_source_files(folder: Path) -> list[Path]:
    """List the source files below a folder, sorted."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and is_source_file(path, folder)]


def encode_listing(digests: Mapping[str, Digest]) -> bytes:
    """Encode the digests of files by path, as canonical JSON."""
    return canonical.dumps_canonical(dict(digests))


def code_digest(folder: Path) -> Digest:
    """Hash the source files of a folder: SHA-256 of the canonical JSON of {path: SHA-256 of the file}."""
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in list_source_files(folder)
    }
    return hashlib.sha256(encode_listing(files)).hexdigest()
