"""Find estimators by name: entry points of the group `wellspring.estimators`."""

from __future__ import annotations

import re
from typing import cast

from wellspring.errors import ProjectError
from wellspring.models.estimators.port import MODEL_FILE_PATTERN, Estimator
from wellspring.plugins import PluginRegistry, find_class

GROUP = "wellspring.estimators"
_ATTRIBUTES = (
    "name", "file_name", "attribution", "fits_any_columns", "packages", "seed", "supports", "tune", "fit", "load_model",
)  # fmt: skip


def list_estimators() -> tuple[str, ...]:
    """List the names of the registered estimators."""
    return tuple(_registry().names())


def find_estimator(name: str) -> type[Estimator]:
    """Find an estimator class. Raises ProjectError if it is unknown, registered twice, incomplete, or lacks a package.

    Only this estimator is imported.
    """
    estimator = cast("type[Estimator]", find_class(_registry(), name, _ATTRIBUTES))
    if not re.fullmatch(MODEL_FILE_PATTERN, estimator.file_name):
        raise ProjectError(
            f"the file name of the estimator {name!r} is not allowed: {estimator.file_name!r}",
            fix="use `model.` and a suffix of letters, digits and underscores, not one of a pickle",
        )
    return estimator


def _registry() -> PluginRegistry[type]:
    return PluginRegistry(GROUP, type, noun="estimator")
