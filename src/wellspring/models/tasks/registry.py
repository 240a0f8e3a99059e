"""Find tasks by name: entry points of the group `wellspring.tasks`."""

from __future__ import annotations

from typing import cast

from wellspring.models.tasks.port import Task
from wellspring.plugins import PluginRegistry, find_class

GROUP = "wellspring.tasks"
_ATTRIBUTES = (
    "name",
    "objective_kind",
    "main_metric",
    "comparison_title",
    "required_metrics",
    "load_decoder",
    "check_metrics",
)


def list_tasks() -> tuple[str, ...]:
    """List the names of the registered tasks."""
    return tuple(_registry().names())


def find_task(name: str) -> type[Task]:
    """Find a task class. Raises ProjectError if it is unknown, registered twice, incomplete, or lacks a package."""
    return cast("type[Task]", find_class(_registry(), name, _ATTRIBUTES))


def _registry() -> PluginRegistry[type]:
    return PluginRegistry(GROUP, type, noun="task")
