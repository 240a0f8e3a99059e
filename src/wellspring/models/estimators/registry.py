"""Find estimators by name: entry points of the group `wellspring.estimators`."""

from __future__ import annotations

from typing import cast

from wellspring.errors import ProjectError
from wellspring.models.estimators.port import Estimator
from wellspring.plugins import PluginRegistry

GROUP = "wellspring.estimators"
_ATTRIBUTES = ("name", "file_name", "attribution", "fits_any_columns", "seed", "supports", "tune", "fit", "load_model")


def list_estimators() -> tuple[str, ...]:
    """List the names of the registered estimators."""
    return tuple(_registry().names())


def find_estimator(name: str) -> type[Estimator]:
    """Find an estimator class. Raises ProjectError if it is unknown, registered twice, or lacks a package."""
    return _load_estimator(_registry(), name)


def list_model_files() -> frozenset[str]:
    """List the file names of the registered estimators; one that cannot be imported is left out."""
    file_names: set[str] = set()
    registry = _registry()
    for name in registry.names():
        try:
            file_names.add(_load_estimator(registry, name).file_name)
        except ProjectError:
            # Its models are then refused as unknown files.
            continue
    return frozenset(file_names)


def _registry() -> PluginRegistry[type]:
    return PluginRegistry(GROUP, type, noun="estimator")


def _load_estimator(registry: PluginRegistry[type], name: str) -> type[Estimator]:
    estimator = registry.load(name)
    missing = [attribute for attribute in _ATTRIBUTES if not hasattr(estimator, attribute)]
    if missing or vars(estimator).get("name") != name:
        problem = f"lacks {', '.join(missing)}" if missing else "has another name than its entry point"
        raise ProjectError(
            f"the class of the estimator {name!r} {problem}", fix="correct its package, as in docs/extending.md"
        )
    return cast("type[Estimator]", estimator)
