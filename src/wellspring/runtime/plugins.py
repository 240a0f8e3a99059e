"""Find plugins by name through entry points (importlib.metadata): wellspring's own and those of installed packages."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection

from wellspring.errors import ProjectError, suggest_name


def list_plugins(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    """List the entry points of a group by name, sorted, without loading them.

    Raises ProjectError for a name that two packages register, because it would be undefined which one is used.
    """
    entry_points: dict[str, importlib.metadata.EntryPoint] = {}
    for entry_point in sorted(importlib.metadata.entry_points(group=group), key=lambda item: (item.name, item.value)):
        registered = entry_points.get(entry_point.name)
        if registered is not None:
            raise ProjectError(
                f"{group} has two entries named {entry_point.name!r}: {registered.value} and {entry_point.value}",
                fix="uninstall one of the two packages",
            )
        entry_points[entry_point.name] = entry_point
    return entry_points


def load_plugin(group: str, name: str) -> object:
    """Load one plugin. Raises ProjectError for an unknown name, and if its module or a package of it is missing."""
    entry_points = list_plugins(group)
    if name not in entry_points:
        raise ProjectError(
            f"no plugin {name!r} in {group}", fix=f"{suggest_name(name, list(entry_points))}; or install its package"
        )
    try:
        return entry_points[name].load()
    except ImportError as exc:
        raise ProjectError(
            f"the plugin {name!r} of {group} cannot be imported: {exc}", fix="install the package that it needs"
        ) from None
    except AttributeError:
        raise ProjectError(
            f"the plugin {name!r} of {group} does not exist: {entry_points[name].value}", fix="reinstall its package"
        ) from None


def require_attributes(group: str, name: str, plugin: object, attributes: Collection[str]) -> None:
    """Raise ProjectError unless a plugin has the attributes that its port declares."""
    if missing := [attribute for attribute in attributes if not hasattr(plugin, attribute)]:
        raise ProjectError(
            f"the plugin {name!r} of {group} has no {', '.join(missing)}", fix="correct it, as in docs/extending.md"
        )
