"""The reference project as it ships: copied out for the demo, and its drops, which play the vendor."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType

from wellspring.errors import NotFound, Refused
from wellspring.project import FILE

MARK = ".made-by-wellspring-demo"


def template() -> Path:
    """Find `examples/health_plan`: inside the wheel, or beside the source in a checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "templates" / "health_plan", package.parents[1] / "examples" / "health_plan"):
        if (folder / FILE).is_file():
            return folder
    raise NotFound(
        "the reference project is not in this installation", fix="install wellspring again, from a whole wheel"
    )


def lay_out(folder: Path) -> None:
    """Copy the reference project into a folder: a new one, an empty one, or one that an earlier demo made.

    Raises Refused for a folder that holds anything else.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise Refused(f"{folder} holds something that no demo made", fix="name a new folder with --project")
        shutil.rmtree(folder)
    shutil.copytree(template(), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / MARK).touch()


def vendor() -> ModuleType:
    """Load the module that writes the vendor's drops (`drops.good`, `bad`, `broken_schema`, `corrected`)."""
    place = str(template())
    sys.path.insert(0, place)
    try:
        return importlib.import_module("drops")
    finally:
        sys.path.remove(place)
