"""Find tasks by name: entry points of the group `wellspring.tasks`."""

from __future__ import annotations

from typing import cast

from wellspring.errors import ProjectError
from wellspring.models.tasks.port import Task
from wellspring.plugins import PluginRegistry

GROUP = "wellspring.tasks"
_ATTRIBUTES = ("name", "objective_kind", "main_metric", "required_metrics", "load_decoder", "check_metrics")


def list_tasks() -> tuple[str, ...]:
    """List the names of the registered tasks."""
    return tuple(_registry().names())


def find_task(name: str) -> type[Task]:
    """Find a task class. Raises ProjectError if it is unknown, registered twice, or lacks a package."""
    task = _registry().load(name)
    missing = [attribute for attribute in _ATTRIBUTES if not hasattr(task, attribute)]
    if missing or vars(task).get("name") != name:
        problem = f"lacks {', '.join(missing)}" if missing else "has another name than its entry point"
        raise ProjectError(
            f"the class of the task {name!r} {problem}", fix="correct its package, as in docs/extending.md"
        )
    return cast("type[Task]", task)


def _registry() -> PluginRegistry[type]:
    return PluginRegistry(GROUP, type, noun="task")
