"""Find estimators by name: entry points of the group `wellspring.estimators`."""

from __future__ import annotations

from typing import cast

from wellspring.errors import ProjectError
from wellspring.models.estimators.port import Estimator
from wellspring.runtime.plugins import list_plugins, load_plugin, require_attributes

GROUP = "wellspring.estimators"
_ATTRIBUTES = ("name", "file_name", "attribution", "fits_any_columns", "seed", "supports", "tune", "fit", "load_model")


def list_estimators() -> tuple[str, ...]:
    """List the names of the registered estimators."""
    return tuple(list_plugins(GROUP))


def find_estimator(name: str) -> type[Estimator]:
    """Find an estimator class. Raises ProjectError if it is unknown, registered twice, or lacks a package."""
    plugin = load_plugin(GROUP, name)
    require_attributes(GROUP, name, plugin, _ATTRIBUTES)
    estimator = cast("type[Estimator]", plugin)
    if estimator.name != name:
        raise ProjectError(
            f"{GROUP} registers {name!r}, but the class is named {estimator.name!r}", fix="give both the same name"
        )
    return estimator


def list_model_files() -> frozenset[str]:
    """List the file names of the registered estimators; one that cannot be imported is left out."""
    file_names: set[str] = set()
    for name in list_plugins(GROUP):
        try:
            file_names.add(find_estimator(name).file_name)
        except ProjectError:
            # Its models are then refused as unknown files.
            continue
    return frozenset(file_names)
