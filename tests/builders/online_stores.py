"""The servers of all online stores, for the behavior suite: by adapter name, and one in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from tests.builders.memory_online_store import running_in_memory
from tests.builders.plugins import find_suite_builders
from wellspring.records.features import FeatureViews
from wellspring.stores.online.port import OnlineReader, OnlineWriter


class OnlineStoreFixture(Protocol):
    """A running online store of any kind."""

    def empty(self) -> None:
        """Remove all rows and markers."""
        ...

    def writer(self, project: str) -> OnlineWriter: ...

    def reader(self, views: FeatureViews) -> OnlineReader: ...


SERVERS: Mapping[str, Callable[[], AbstractContextManager[OnlineStoreFixture]]] = {
    "memory": running_in_memory,
    **find_suite_builders("online_stores"),
}
