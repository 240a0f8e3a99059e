"""Find tasks by name: entry points of the group `wellspring.tasks`."""

from __future__ import annotations

from typing import cast

from wellspring.errors import ProjectError
from wellspring.models.tasks.port import Task
from wellspring.runtime.plugins import list_plugins, load_plugin, require_attributes

GROUP = "wellspring.tasks"
_ATTRIBUTES = ("name", "objective_kind", "main_metric", "required_metrics", "load_decoder", "check_metrics")


def list_tasks() -> tuple[str, ...]:
    """List the names of the registered tasks."""
    return tuple(list_plugins(GROUP))


def find_task(name: str) -> type[Task]:
    """Find a task class. Raises ProjectError if it is unknown, registered twice, or lacks a package."""
    plugin = load_plugin(GROUP, name)
    require_attributes(GROUP, name, plugin, _ATTRIBUTES)
    task = cast("type[Task]", plugin)
    if task.name != name:
        raise ProjectError(
            f"{GROUP} registers {name!r}, but the class is named {task.name!r}", fix="give both the same name"
        )
    return task
