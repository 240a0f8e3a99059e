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
        self.markers: dict[str, Marker] = {}
        self.pending: dict[str, tuple[Digest, ...]] = {}

    def writer(self, project: str) -> MemoryWriter:
        return MemoryWriter(self, project)

    def reader(self, views: FeatureViews) -> MemoryReader:
        return MemoryReader(self, views)

    def get(self, project: str, view: FeatureViewSpec, key: tuple[str, ...]) -> FeatureRow | None:
        """Return a row, or None if it is missing or lacks a feature of the view."""
        require_tokens(view, key)
        stored = self.rows.get((project, view.name, key))
        if stored is None or any(feature.name not in stored.row.values for feature in view.features):
            return None
        return stored.row._replace(values={feature.name: stored.row.values[feature.name] for feature in view.features})

    def live(self, project: str) -> LiveMarker | None:
        marker = self.markers.get(project)
        return marker.live._replace(pending_views=self.pending.get(project, ())) if marker is not None else None


def require_tokens(view: FeatureViewSpec, key: Sequence[str | None]) -> None:
    if not all(value is not None and TOKEN_PATTERN.fullmatch(value) for value in key):
        raise token_required(view)


class MemoryWriter:
    """Writes one project."""

    def __init__(self, store: MemoryStore, project: str) -> None:
        self._store, self._project = store, project

    def close(self) -> None:
        """Nothing is open."""

    def write_rows(self, view: FeatureViewSpec, rows: pa.Table, edition: Edition) -> WriteResult:
        values = rows.to_pylist()
        for value in values:
            require_tokens(view, [value[name] for name in view.keys])
        written = 0
        with self._store.lock:
            for value in values:
                key = tuple(value[name] for name in view.keys)
                place, version = (
                    (self._project, view.name, key),
                    (value["known_since"], value["sequence"], edition.known_since),
                )
                stored = self._store.rows.get(place)
                if stored is None or stored.version <= version:
                    features = {feature.name: value[feature.name] for feature in view.features}
                    row = FeatureRow(view.name, key, features, value["known_since"], value["sequence"], edition.id)
                    self._store.rows[place] = StoredRow(version, row)
                    written += 1
        return WriteResult(written, len(values) - written)

    def read_row(self, view: FeatureViewSpec, key: tuple[str, ...]) -> FeatureRow | None:
        return self._store.get(self._project, view, key)

    def read_rows(self, view: FeatureViewSpec, keys: Sequence[tuple[str, ...]]) -> list[FeatureRow | None]:
        return [self.read_row(view, key) for key in keys]

    def begin_write(self, views: Digest) -> None:
        pending = self._store.pending.setdefault(self._project, ())
        if views not in pending:
            self._store.pending[self._project] = (*pending, views)

    def set_live(self, edition: Edition, *, as_of: datetime, views: Digest) -> bool:
        marker = self._store.markers.get(self._project)
        if marker is not None and marker.published > edition.known_since:
            return False
        self._store.markers[self._project] = Marker(edition.known_since, LiveMarker(edition.id, as_of, views))
        self._store.pending[self._project] = ()
        return True

    def get_live(self) -> LiveMarker | None:
        return self._store.live(self._project)


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
        return await self.get_live(), await self.get_rows(keys)

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
