"""Read online rows together with the marker of the edition that is live for their versions of the views."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wellspring.errors import Unavailable
from wellspring.records.features import FeatureRow, FeatureViews
from wellspring.records.record import Digest
from wellspring.stores.online.port import LiveMarker, OnlineReader


class OnlineFeatures:
    """Read the online store of one project. Caches readers and view definitions by digest; use on one event loop."""

    def __init__(
        self,
        project_name: str,
        *,
        load_views: Callable[[Digest], FeatureViews],
        open_reader: Callable[[FeatureViews], OnlineReader],
    ) -> None:
        self._load_views = load_views
        self._create_reader = open_reader
        self._readers: dict[Digest, OnlineReader] = {}
        self._views_by_digest: dict[Digest, FeatureViews] = {}
        self._no_views = FeatureViews(project=project_name, views=(), digest="")

    async def close(self) -> None:
        """Close all readers."""
        for reader in self._readers.values():
            await reader.close()

    def get_views(self, digest: Digest) -> FeatureViews:
        """Return the view definitions with this digest."""
        if digest not in self._views_by_digest:
            self._views_by_digest[digest] = self._load_views(digest)
        return self._views_by_digest[digest]

    async def read_rows(
        self, views: FeatureViews, row_keys: Sequence[tuple[str, tuple[str, ...]]]
    ) -> tuple[LiveMarker, list[FeatureRow | None]]:
        """Read the rows and the marker of these views, in one round trip. Raises Unavailable before the first edition.

        row_keys: of views of the set, each with its key.
        """
        live, rows = await self._open_reader(views).get_with_marker(row_keys)
        return _require_live(live), rows

    async def read_newest_marker(self) -> LiveMarker:
        """Read the marker of the newest edition, whose views queries read that name no release. Raises Unavailable."""
        return _require_live(await self._open_reader(self._no_views).get_live())

    def _open_reader(self, views: FeatureViews) -> OnlineReader:
        if views.digest not in self._readers:
            self._readers[views.digest] = self._create_reader(views)
        return self._readers[views.digest]


def _require_live(live: LiveMarker | None) -> LiveMarker:
    if live is None:
        raise Unavailable(
            "the online store holds no edition with these versions of the views",
            fix="run `wellspring transform`, then retry",
        )
    return live
