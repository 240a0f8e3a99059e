"""Find the catalog that [lake] of wellspring.toml names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wellspring.lake.port import Catalog, CatalogAdapter
from wellspring.plugins import PluginRegistry, parse_options

ENTRY_POINT_GROUP = "wellspring.catalogs"


def list_catalogs() -> list[str]:
    """List the names of the installed catalogs, without loading any of them."""
    return _registry().names()


def load_catalog(name: str) -> CatalogAdapter:
    """Load the adapter of a catalog. Raises ProjectError for an unknown name."""
    return _registry().load(name)


def open_catalog(name: str, options: Mapping[str, Any], folder: Path, namespace: str) -> Catalog:
    """Open one namespace of a catalog. options: [lake.options]. Raises ProjectError for an unknown name or option."""
    adapter = load_catalog(name)
    return adapter.open_catalog(parse_options("lake.options", adapter.settings, options), folder, namespace)


def _registry() -> PluginRegistry[CatalogAdapter]:
    return PluginRegistry(ENTRY_POINT_GROUP, CatalogAdapter, noun="catalog")
