"""Find the implementations of an extension point by entry point: those of wellspring and those of other packages."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from wellspring.errors import CorruptedError, ProjectError, WellspringError, suggest_name

Implementation = TypeVar("Implementation")
Options = TypeVar("Options", bound=BaseModel)


class PluginRegistry(Generic[Implementation]):
    """Load the implementations that packages register under one entry point group, by name, when they are needed.

    group: `wellspring.online_stores`. implementation: the class of which each entry must be an instance. noun: what one
    is called in an error ("online store").
    """

    def __init__(self, group: str, implementation: type[Implementation], *, noun: str) -> None:
        self._group = group
        self._implementation = implementation
        self.noun = noun

    def names(self) -> list[str]:
        """List the registered names, without loading any of them."""
        return sorted(self._entry_points)

    def load(self, name: str) -> Implementation:
        """Import one implementation. Raises ProjectError: unknown, registered twice, or a package is missing."""
        registered = self._entry_points.get(name)
        if not registered:
            raise ProjectError(f"unknown {self.noun} {name!r}", fix=suggest_name(name, self._entry_points))
        if len(registered) > 1:
            packages = " and ".join(_package_of(entry_point) for entry_point in registered)
            raise ProjectError(
                f"{self.noun} {name!r} is registered twice: by {packages}", fix="uninstall one of the two packages"
            )
        return self._import(registered[0])

    @property
    def _entry_points(self) -> Mapping[str, list[EntryPoint]]:
        return _read_entry_points(self._group, tuple(sys.path))

    def _import(self, entry_point: EntryPoint) -> Implementation:
        package = _package_of(entry_point)
        with guard_plugin_code(
            f"{self.noun} {entry_point.name!r} of {package} cannot be imported from {entry_point.value}",
            fix=f"install a version of {package} that fits this wellspring",
            error_type=ProjectError,
        ):
            try:
                loaded = entry_point.load()
            except ModuleNotFoundError as exc:
                raise ProjectError(
                    f"{self.noun} {entry_point.name!r} needs the package {exc.name}, which is not installed",
                    fix=f"install it: pip install {(exc.name or '').partition('.')[0]}",
                ) from None
        if not isinstance(loaded, self._implementation):
            raise ProjectError(
                f"{self.noun} {entry_point.name!r} of {package} is not a "
                f"{self._implementation.__name__} ({entry_point.value})",
                fix=f"see docs/extending.md, and correct the entry point in {self._group}",
            )
        return loaded


def find_class(registry: PluginRegistry[type], name: str, attributes: Sequence[str]) -> type:
    """Load a class that has these attributes, and its registered name as `name`. Raises ProjectError, as `load`."""
    loaded = registry.load(name)
    # pydantic removes the default of a field from its class.
    fields = getattr(loaded, "model_fields", {})
    missing = [attribute for attribute in attributes if attribute not in fields and not hasattr(loaded, attribute)]
    if missing or vars(loaded).get("name") != name:
        problem = f"lacks {', '.join(missing)}" if missing else "has another name than its entry point"
        raise ProjectError(
            f"the class of the {registry.noun} {name!r} {problem}", fix="correct its package, as in docs/extending.md"
        )
    return loaded


@contextmanager
def guard_plugin_code(what: str, *, fix: str, error_type: type[WellspringError] = CorruptedError) -> Generator[None]:
    """Turn an unexpected error of foreign code into one of `error_type` that names only the type of the error."""
    try:
        yield
    except Exception as exc:
        # Code of another package may raise anything, while it is imported and while it runs.
        if not isinstance(exc, WellspringError):
            raise error_type(f"{what} ({type(exc).__name__})", fix=fix) from None
        raise


def parse_options(section: str, settings: type[Options], options: Mapping[str, Any]) -> Options:
    """Validate the options of an implementation. section: their table, for the error. Raises ProjectError."""
    try:
        return settings.model_validate(dict(options))
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            message = f"unknown key {name!r} in [{section}]; {suggest_name(name, list(settings.model_fields))}"
        else:
            place = f"{name!r} in [{section}]" if name else f"[{section}]"
            message = f"{place}: {error['msg'].removeprefix('Value error, ')}"
        raise ProjectError(message, fix="edit wellspring.toml") from None


@cache
def _read_entry_points(group: str, _search_path: tuple[str, ...]) -> Mapping[str, list[EntryPoint]]:
    """Read the entry points of a group by name, once for each search path: it reads a file per installed package."""
    by_name: dict[str, list[EntryPoint]] = {}
    for entry_point in entry_points(group=group):
        registered = by_name.setdefault(entry_point.name, [])
        # A package that is on the path twice registers the same object twice.
        if not any(_is_same(entry_point, known_entry) for known_entry in registered):
            registered.append(entry_point)
    return by_name


def _package_of(entry_point: EntryPoint) -> str:
    return entry_point.dist.name if entry_point.dist is not None else "an unknown package"


def _is_same(first: EntryPoint, second: EntryPoint) -> bool:
    return (first.value, _package_of(first)) == (second.value, _package_of(second))
