"""Name and parse the hash that marks the live edition of a project."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from wellspring.errors import CorruptedError
from wellspring.records.instants import from_epoch_micros
from wellspring.stores.online.feast_codec import seal_text
from wellspring.stores.online.port import LiveMarker

MARKER_FIELDS = ("id", "published", "as_of", "views", "seal", "pending_views")


def marker_key(namespace: str) -> str:
    """Return the Redis key of the live-edition marker of a namespace (a project's, or one tenant's in it)."""
    return f"ws:edition:{namespace}"


def parse_live_marker(fields: Sequence[bytes | None], namespace: str, row_key: bytes) -> LiveMarker | None:
    """Parse the marker of the live edition. Raises CorruptedError unless a materialization wrote it.

    row_key: the secret of its keyed hash. Pending views are not covered: they name what each row names for itself.
    """
    match list(fields):
        case [None, None, None, None, None, _]:
            return None
        case [bytes() as edition, bytes() as published, bytes() as as_of, bytes() as views, bytes() as seal, pending]:
            words = (marker_key(namespace).encode(), edition, published, as_of, views)
            if hmac.compare_digest(seal, seal_text(row_key, *words)):
                pending_views = tuple(pending.decode().split()) if pending is not None else ()
                return LiveMarker(edition.decode(), from_epoch_micros(int(as_of)), views.decode(), pending_views)
    raise CorruptedError(
        "the online store's marker of the live edition is not one that a materialization wrote",
        fix="run `wellspring transform` again; if the error persists, empty the online store first",
    )
