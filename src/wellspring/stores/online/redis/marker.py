"""Name and parse the hash that marks the live edition of a project."""

from __future__ import annotations

from collections.abc import Sequence

from wellspring.errors import CorruptedError
from wellspring.records.instants import from_epoch_micros
from wellspring.stores.online.port import LiveMarker

MARKER_FIELDS = ("id", "as_of", "views", "pending_views")


def marker_key(namespace: str) -> str:
    """Return the Redis key of the live-edition marker of a namespace (a project's, or one tenant's in it)."""
    return f"ws:edition:{namespace}"


def parse_live_marker(fields: Sequence[bytes | None]) -> LiveMarker | None:
    """Parse the marker of the live edition. Raises CorruptedError if it is incomplete."""
    match list(fields):
        case [None, None, None, _]:
            return None
        case [bytes() as edition, bytes() as as_of, bytes() as views, pending] if as_of.isdigit():
            pending_views = tuple(pending.decode().split()) if pending is not None else ()
            return LiveMarker(edition.decode(), from_epoch_micros(int(as_of)), views.decode(), pending_views)
    raise CorruptedError(
        "the online store's marker of the live edition is incomplete", fix="run `wellspring transform` again"
    )
