"""Build packages that register entry points, in a folder that a test puts on sys.path."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

SUITES = Path(__file__).parent / "suites"


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


def find_suite_builders(port: str) -> dict[str, Any]:
    """Load what the behavior suite of a port needs for each implementation, by its name. port: `sources`.

    wellspring's own: `BUILDER` in tests/builders/suites/PORT/NAME.py. Of an installed package: an entry point of the
    group `wellspring.tests.PORT`.
    """
    builders = {
        path.stem: import_module(f"tests.builders.suites.{port}.{path.stem}").BUILDER
        for path in sorted((SUITES / port).glob("*.py"))
    }
    registered = entry_points(group=f"wellspring.tests.{port}")
    return builders | {entry_point.name: entry_point.load() for entry_point in registered}


def build_wheel(project: Path, folder: Path) -> Path:
    """Build the wheel of a project with its own build backend, without network, and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True, text=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_wheel(wheel: Path, folder: Path) -> Path:
    """Install a wheel of pure Python into a folder, which a test puts on the path."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder
