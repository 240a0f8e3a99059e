"""Find the locks that [locks] of wellspring.toml names."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wellspring.plugins import PluginRegistry, parse_options
from wellspring.project import Project
from wellspring.stores.locks.port import LocksAdapter, ResourceLocks

ENTRY_POINT_GROUP = "wellspring.locks"


def load_locks_adapter(project: Project) -> LocksAdapter:
    """Load the adapter of a project's locks. Raises ProjectError if no package registers that name."""
    return PluginRegistry(ENTRY_POINT_GROUP, LocksAdapter, noun="kind of locks").load(project.locks.kind)


def open_resource_locks(project: Project) -> ResourceLocks:
    """Open a project's locks. Raises ProjectError for an unknown name or option, Unavailable without their server."""
    adapter = load_locks_adapter(project)
    return adapter.open_locks(_parse_settings(adapter, project), project)


def list_credential_files(project: Project) -> tuple[Path, ...]:
    """List the files with which the worker logs in to the locks; its jobs must be able to read them."""
    adapter = load_locks_adapter(project)
    return adapter.credential_files(_parse_settings(adapter, project), project.root)


def find_lock_problems(project: Project) -> Iterator[str]:
    """Report what would stop a worker from opening the locks, without opening them. Raises ProjectError."""
    missing = [package for package in load_locks_adapter(project).packages if find_spec(package) is None]
    if missing:
        yield f"{', '.join(missing)}: not installed"
    for path in list_credential_files(project):
        if not path.is_file():
            yield f"the file {path} does not exist"


def _parse_settings(adapter: LocksAdapter, project: Project) -> Any:
    return parse_options("locks.options", adapter.settings, project.locks.options)
