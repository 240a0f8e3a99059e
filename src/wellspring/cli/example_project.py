"""The reference project that ships with the package: copy it for the demo, and load its vendor module."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from wellspring.bootstrap import open_ledger_index, open_ledger_tree
from wellspring.errors import NotFound, Refused
from wellspring.project import PROJECT_FILE, Project, load_project
from wellspring.runtime.trusted_folder import remove_tree

DEMO_MARKER = ".made-by-wellspring-demo"
# Actions that a start, a stop or a new proof writes; they do not count as changes by a user.
_ROUTINE_ACTIONS = {"start", "stop", "create_key", "serve", "seal", "prove", "heartbeat"}


def find_example() -> Path:
    """Return the folder of the reference project: in the wheel, or in the source checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "templates" / "health_plan", package.parents[1] / "examples" / "health_plan"):
        if (folder / PROJECT_FILE).is_file():
            return folder
    raise NotFound(
        "the reference project is not in this installation", fix="install wellspring again, from a complete wheel"
    )


def copy_example(folder: Path, *, before_removal: Callable[[Project], object] = lambda _: None) -> None:
    """Copy the reference project into a new folder, an empty folder, or the folder of an earlier demo.

    before_removal: called with the project of an earlier demo before its removal, to stop its servers.
    Raises Refused for any other folder, and for a demo folder that has ledger entries since its demo ended.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / DEMO_MARKER).is_file():
            raise Refused(f"{folder} is not empty, and no demo created it", fix="name a new folder with --project")
        is_project = (folder / PROJECT_FILE).is_file()
        if is_project and _changed_since_demo(folder):
            raise Refused(
                f"{folder} has changed since its demo ended, and a new demo would remove the changes",
                fix=f"name a new folder with --project, or remove the data with `wellspring --project {folder} clean`",
            )
        if is_project:
            before_removal(load_project(folder))
        remove_tree(folder)
    shutil.copytree(find_example(), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / DEMO_MARKER).touch()


def record_demo_end(folder: Path) -> None:
    """Record the size of the ledger at the end of a demo: later entries are the work of a user."""
    (folder / DEMO_MARKER).write_text(f"{open_ledger_tree(load_project(folder)).size}\n", encoding="utf-8")


def _changed_since_demo(folder: Path) -> bool:
    marker_text = (folder / DEMO_MARKER).read_text(encoding="utf-8").strip()
    index = open_ledger_index(load_project(folder))
    # `clean` starts a new ledger; then all its entries are later ones.
    size = int(marker_text) if marker_text.isdecimal() else index.tree.size
    later = index.iter_entries(after=size if size <= index.tree.size else 0)
    return any(indexed.entry.action not in _ROUTINE_ACTIONS for indexed in later)


def load_vendor_module() -> ModuleType:
    """Import the module that writes the vendor's drops (`good`, `bad`, `broken_schema`, `corrected`)."""
    example_path = str(find_example())
    sys.path.insert(0, example_path)
    try:
        return importlib.import_module("drops")
    finally:
        sys.path.remove(example_path)
