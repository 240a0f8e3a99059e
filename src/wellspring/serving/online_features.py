"""Read online rows together with the marker of the live edition, and check that their view definitions match."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wellspring.errors import Unavailable
from wellspring.records.features import FeatureRow, FeatureViews, FeatureViewSpec
from wellspring.records.record import Digest
from wellspring.serving.prediction import check_view_compatibility
from wellspring.serving.release_cache import LoadedRelease
from wellspring.stores.online.port import DefinitionChanged, LiveMarker, OnlineReader


class OnlineFeatures:
    """Read the online store of one project. Caches readers and view definitions by digest; use on one event loop."""

    def __init__(
        self,
        project_name: str,
        *,
        load_views: Callable[[Digest], FeatureViews],
        open_reader: Callable[[FeatureViews], OnlineReader],
    ) -> None:
        self._project_name = project_name
        self._load_views = load_views
        self._create_reader = open_reader
        self._readers: dict[Digest, OnlineReader] = {}
        self._views_by_digest: dict[Digest, FeatureViews] = {}
        self._compatible_views: set[tuple[str, Digest]] = set()
        self._live_marker: LiveMarker | None = None

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
        """Read the live marker and the rows, in one round trip unless definitions change. Raises Unavailable.

        A row can be checked only with the definition that it was written with, so it is read with the live one, and
        while a materialization runs perhaps with the one that comes. Its features of another definition are ignored.
        """
        last_marker = self._live_marker
        if last_marker is not None and last_marker.views != views.digest:
            views = self._select_views(last_marker.views, row_keys) or views
        try:
            live, rows = await self._open_reader(views).get_with_marker(row_keys)
            return self._require_live(live), rows
        except DefinitionChanged:
            live = await self.read_live_marker()
            return live, [await self._read_row(live, row_key) for row_key in row_keys]

    async def _read_row(self, live: LiveMarker, row_key: tuple[str, tuple[str, ...]]) -> FeatureRow | None:
        """Read a row with the first of the live and the pending definitions that it was written with."""
        changed: DefinitionChanged | None = None
        for digest in (live.views, *live.pending_views):
            if (views := self._select_views(digest, [row_key])) is not None:
                try:
                    return (await self._open_reader(views).get_rows([row_key]))[0]
                except DefinitionChanged as exc:
                    changed = exc
        raise changed or Unavailable(
            f"the online store has no view {row_key[0]}", fix="run `wellspring transform`, then retry"
        )

    def _select_views(self, digest: Digest, row_keys: Sequence[tuple[str, tuple[str, ...]]]) -> FeatureViews | None:
        """Return the definitions with a digest; None unless they have each of the views."""
        views = self.get_views(digest)
        return views if all(views.find_view(name) is not None for name, _ in row_keys) else None

    async def read_live_marker(self) -> LiveMarker:
        """Read the live marker. Raises Unavailable."""
        last_views = (
            self.get_views(self._live_marker.views)
            if self._live_marker is not None
            else FeatureViews(project=self._project_name, views=(), digest="")
        )
        return self._require_live(await self._open_reader(last_views).get_live())

    def check_compatibility(self, served: LoadedRelease, live: LiveMarker) -> None:
        """Check a release against all view definitions that online rows may have: the live and the pending ones."""
        for digest in (live.views, *live.pending_views):
            pair = served.release.id, digest
            if digest != served.release.views and pair not in self._compatible_views:
                check_view_compatibility(served, self.get_views(digest))
                self._compatible_views.add(pair)

    def require_current_definition(self, view: FeatureViewSpec, live: LiveMarker) -> None:
        """Raise Unavailable while online rows may have another definition than `view`, which was used to read them."""
        if any(self.get_views(digest).find_view(view.name) != view for digest in (live.views, *live.pending_views)):
            raise Unavailable(
                f"the definition of view {view.name} is changing",
                fix="retry when its new rows are online; if that takes long, run `wellspring transform`",
            )

    def _require_live(self, live: LiveMarker | None) -> LiveMarker:
        if live is None:
            raise Unavailable("the online store holds no edition yet", fix="run `wellspring transform`, then retry")
        self._live_marker = live
        return live

    def _open_reader(self, views: FeatureViews) -> OnlineReader:
        if views.digest not in self._readers:
            self._readers[views.digest] = self._create_reader(views)
        return self._readers[views.digest]
