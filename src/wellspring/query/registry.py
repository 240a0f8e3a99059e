"""Find the query engine that [query] of wellspring.toml names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wellspring.plugins import PluginRegistry, parse_options
from wellspring.query.port import QueryEngine, QueryEngineAdapter

ENTRY_POINT_GROUP = "wellspring.query_engines"


def list_query_engines() -> list[str]:
    """List the names of the installed engines, without loading any of them."""
    return _registry().names()


def load_query_engine(name: str) -> QueryEngineAdapter:
    """Load the adapter of a query engine. Raises ProjectError for an unknown name."""
    return _registry().load(name)


def open_query_engine(name: str, options: Mapping[str, Any]) -> QueryEngine:
    """Open an engine. options: [query.options]. Raises ProjectError for an unknown engine or option."""
    adapter = load_query_engine(name)
    return adapter.open_engine(parse_options("query.options", adapter.settings, options))


def _registry() -> PluginRegistry[QueryEngineAdapter]:
    return PluginRegistry(ENTRY_POINT_GROUP, QueryEngineAdapter, noun="query engine")
