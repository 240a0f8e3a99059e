"""Find the adapter of the online store that [features] of wellspring.toml names."""

from __future__ import annotations

from wellspring.plugins import PluginRegistry
from wellspring.project import Project
from wellspring.settings import FeatureSettings
from wellspring.stores.online.port import OnlineStoreAdapter

ENTRY_POINT_GROUP = "wellspring.online_stores"


def load_online_store(project: Project) -> OnlineStoreAdapter:
    """Load the adapter of a project's online store. Raises ProjectError if no package registers that name."""
    registry = PluginRegistry(ENTRY_POINT_GROUP, OnlineStoreAdapter, noun="online store")
    return registry.load((project.features or FeatureSettings()).online_store)


def needs_embedded_server(project: Project, server: str) -> bool:
    """Tell whether `wellspring up` starts this server because the project's online store is an embedded one."""
    return project.features is not None and load_online_store(project).embedded_server == server
