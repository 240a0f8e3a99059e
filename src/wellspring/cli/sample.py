"""The reference project as it ships: copied out for the demo, and its drops, which play the vendor."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from wellspring.errors import NotFound, Refused
from wellspring.project import FILE, Project, load
from wellspring.stores.objects.disk import DiskPaths
from wellspring.trust.ledger.tree import Tree

MARK = ".made-by-wellspring-demo"
# What servers write when they only start and stop, and what can be proved again at any time.
_ROUTINE = {"start", "stop", "key", "serve", "seal", "prove"}


def template() -> Path:
    """Find `examples/health_plan`: inside the wheel, or beside the source in a checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "templates" / "health_plan", package.parents[1] / "examples" / "health_plan"):
        if (folder / FILE).is_file():
            return folder
    raise NotFound(
        "the reference project is not in this installation", fix="install wellspring again, from a whole wheel"
    )


def lay_out(folder: Path, *, before: Callable[[Project], object] = lambda _: None) -> None:
    """Copy the reference project into a folder: a new one, an empty one, or one that an earlier demo made.

    before: called with the project of an earlier demo before it is removed, to stop what still runs.
    Raises Refused for a folder that holds anything else, and for one in which somebody worked since its demo ended.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise Refused(f"{folder} holds something that no demo made", fix="name a new folder with --project")
        made = (folder / FILE).is_file()
        if made and _worked_in(folder):
            raise Refused(
                f"{folder} holds what was done by hand since its demo ended, and a new demo would remove that",
                fix=f"name a new folder with --project, or give it up with `wellspring --project {folder} clean`",
            )
        if made:
            before(load(folder))
        shutil.rmtree(folder)
    shutil.copytree(template(), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / MARK).touch()


def end(folder: Path) -> None:
    """Note how far the ledger goes when a demo has ended: what comes later, somebody did by hand."""
    (folder / MARK).write_text(f"{Tree(DiskPaths(load(folder).ledger)).size}\n", encoding="utf-8")


def _worked_in(folder: Path) -> bool:
    noted = (folder / MARK).read_text(encoding="utf-8").strip()
    tree = Tree(DiskPaths(load(folder).ledger))
    # After `clean` there is another ledger, and all of it is somebody's.
    size = int(noted) if noted.isdecimal() else tree.size
    later = range(size if size <= tree.size else 0, tree.size)
    return any(json.loads(tree.entry(each))["action"] not in _ROUTINE for each in later)


def vendor() -> ModuleType:
    """Load the module that writes the vendor's drops (`drops.good`, `bad`, `broken_schema`, `corrected`)."""
    place = str(template())
    sys.path.insert(0, place)
    try:
        return importlib.import_module("drops")
    finally:
        sys.path.remove(place)
