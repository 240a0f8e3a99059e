"""An online store in memory: it shows that the behavior suite asks for nothing that only Redis has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from threading import Lock
from typing import NamedTuple

import pyarrow as pa

from wellspring.errors import NotFound, suggest_name
from wellspring.records.features import FeatureRow, FeatureViews, FeatureViewSpec
from wellspring.records.lake import Edition
from wellspring.records.record import Digest
from wellspring.records.tokens import TOKEN_PATTERN
from wellspring.stores.online.port import LiveMarker, WriteResult, token_required

Version = tuple[datetime, int, datetime]


class StoredRow(NamedTuple):
    """A row and what decides whether a later one replaces it."""

    version: Version
    row: FeatureRow


class Marker(NamedTuple):
    """The live edition of one project, and when it was published."""

    published: datetime
    live: LiveMarker


class MemoryStore:
    """The rows and the markers of all projects."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.empty()

    def empty(self) -> None:
        self.rows: dict[tuple[str, str, tuple[str, ...]], StoredRow] = {}
        self.markers: dict[tuple[str, Digest | None], Marker] = {}

    def writer(self, project: str) -> MemoryWriter:
        return MemoryWriter(self, project)

    def reader(self, views: FeatureViews) -> MemoryReader:
        return MemoryReader(self, views)

    def get(self, project: str, view: FeatureViewSpec, key: tuple[str, ...]) -> FeatureRow | None:
        """Return a row, or None if it is missing or lacks a feature of the view."""
        require_tokens(view, key)
        stored = self.rows.get((project, view.online_name, key))
        if stored is None or any(feature.name not in stored.row.values for feature in view.features):
            return None
        return stored.row._replace(values={feature.name: stored.row.values[feature.name] for feature in view.features})

    def live(self, project: str, views: Digest | None = None) -> LiveMarker | None:
        marker = self.markers.get((project, views))
        return marker.live if marker is not None else None


def require_tokens(view: FeatureViewSpec, key: Sequence[str | None]) -> None:
    if not all(value is not None and TOKEN_PATTERN.fullmatch(value) for value in key):
        raise token_required(view)


class MemoryWriter:
    """Writes one project."""

    def __init__(self, store: MemoryStore, project: str) -> None:
        self._store, self._project = store, project

    def close(self) -> None:
        """Nothing is open."""

    def write_rows(
        self, view: FeatureViewSpec, rows: pa.Table, edition: Edition, *, warm: Sequence[FeatureViewSpec] = ()
    ) -> WriteResult:
        values = rows.to_pylist()
        for value in values:
            require_tokens(view, [value[name] for name in view.keys])
        written = 0
        with self._store.lock:
            for value in values:
                key = tuple(value[name] for name in view.keys)
                place, version = (
                    (self._project, view.online_name, key),
                    (value["known_since"], value["sequence"], edition.known_since),
                )
                stored = self._store.rows.get(place)
                if stored is None or stored.version <= version:
                    features = {feature.name: value[feature.name] for feature in view.features}
                    row = FeatureRow(view.name, key, features, value["known_since"], value["sequence"], edition.id)
                    self._store.rows[place] = StoredRow(version, row)
                    self._remove_former(view, key, {view.online_name, *(item.online_name for item in warm)})
                    written += 1
        return WriteResult(written, len(values) - written)

    def read_row(self, view: FeatureViewSpec, key: tuple[str, ...]) -> FeatureRow | None:
        return self._store.get(self._project, view, key)

    def read_rows(self, view: FeatureViewSpec, keys: Sequence[tuple[str, ...]]) -> list[FeatureRow | None]:
        return [self.read_row(view, key) for key in keys]

    def _remove_former(self, view: FeatureViewSpec, key: tuple[str, ...], warm: set[str]) -> None:
        for project, name, stored_key in list(self._store.rows):
            if (project, stored_key) == (self._project, key) and name.split("_v")[0] == view.name and name not in warm:
                del self._store.rows[project, name, stored_key]

    def set_live(self, edition: Edition, *, as_of: datetime, views: Digest, newest: bool = True) -> bool:
        is_live = False
        for name in (views, None) if newest else (views,):
            marker = self._store.markers.get((self._project, name))
            is_live = marker is None or marker.published <= edition.known_since
            if is_live:
                live = LiveMarker(edition.id, as_of, views)
                self._store.markers[self._project, name] = Marker(edition.known_since, live)
        return is_live

    def get_live(self, views: Digest | None = None) -> LiveMarker | None:
        return self._store.live(self._project, views)


class MemoryReader:
    """Reads one project."""

    def __init__(self, store: MemoryStore, views: FeatureViews) -> None:
        self._store, self._views = store, views

    async def close(self) -> None:
        """Nothing is open."""

    async def get_rows(self, keys: Sequence[tuple[str, tuple[str, ...]]]) -> list[FeatureRow | None]:
        return [self._store.get(self._views.project, self._find_view(name), key) for name, key in keys]

    async def get_with_marker(
        self, keys: Sequence[tuple[str, tuple[str, ...]]]
    ) -> tuple[LiveMarker | None, list[FeatureRow | None]]:
        return self._store.live(self._views.project, self._views.digest), await self.get_rows(keys)

    async def get_live(self) -> LiveMarker | None:
        return self._store.live(self._views.project)

    def _find_view(self, name: str) -> FeatureViewSpec:
        view = self._views.find_view(name)
        if view is None:
            raise NotFound(f"no view {name!r}", fix=suggest_name(name, [item.name for item in self._views.views]))
        return view


@contextmanager
def running_in_memory() -> Iterator[MemoryStore]:
    yield MemoryStore()
