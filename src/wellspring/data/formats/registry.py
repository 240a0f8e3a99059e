"""Find the file format that a contract names, or that the name of a file suggests."""

from __future__ import annotations

from pathlib import Path

from wellspring.data.formats.port import FileFormat
from wellspring.plugins import PluginRegistry

ENTRY_POINT_GROUP = "wellspring.formats"


def list_formats() -> list[str]:
    """List the names of the registered formats."""
    return _registry().names()


def load_format(name: str) -> FileFormat:
    """Load a format by name. Raises ProjectError: unknown, registered twice, or a package is missing."""
    return _registry().load(name)


def detect_format(file: Path) -> str:
    """Return the format whose suffix a file has, and `csv` for any other file."""
    registry = _registry()
    suffix = file.suffix.casefold()
    return next((name for name in registry.names() if suffix in registry.load(name).suffixes), "csv")


def _registry() -> PluginRegistry[FileFormat]:
    return PluginRegistry(ENTRY_POINT_GROUP, FileFormat, noun="format")
