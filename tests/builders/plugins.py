"""Build packages that register entry points, in a folder that a test puts on sys.path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write_package(
    folder: Path, name: str, entry_points: Mapping[str, Mapping[str, str]], *, modules: Mapping[str, str] | None = None
) -> Path:
    """Write an installed package: its modules by name, and the metadata that `pip install` would write.

    entry_points: by group, the names and their `module:object`.
    """
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        line
        for group, values in entry_points.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in values.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join([*lines, ""]))
    for module, source in (modules or {}).items():
        (folder / f"{module}.py").write_text(source)
    return folder
