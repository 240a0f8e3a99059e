"""Name and parse the hashes that mark the live editions of a project: the newest, and one for each set of views."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from wellspring.errors import CorruptedError
from wellspring.records.instants import from_epoch_micros
from wellspring.records.record import Digest
from wellspring.stores.online.feast_codec import seal_text
from wellspring.stores.online.port import LiveMarker

MARKER_FIELDS = ("id", "published", "as_of", "views", "seal")


def marker_key(namespace: str, views: Digest | None = None) -> str:
    """Return the Redis key of a marker of a namespace (a project's, or one tenant's in it): of the views, or newest."""
    return f"ws:edition:{namespace}" if views is None else f"ws:views:{namespace}:{views}"


def parse_live_marker(key: str, fields: Sequence[bytes | None], row_key: bytes) -> LiveMarker | None:
    """Parse a marker. Raises CorruptedError unless a materialization wrote it.

    key: as `marker_key` returns it. row_key: the secret of its keyed hash.
    """
    match list(fields):
        case [None, None, None, None, None]:
            return None
        case [bytes() as edition, bytes() as published, bytes() as as_of, bytes() as views, bytes() as seal]:
            words = (key.encode(), edition, published, as_of, views)
            if hmac.compare_digest(seal, seal_text(row_key, *words)):
                return LiveMarker(edition.decode(), from_epoch_micros(int(as_of)), views.decode())
    raise CorruptedError(
        "a marker of a live edition in the online store is not one that a materialization wrote",
        fix="run `wellspring transform` again; if the error persists, empty the online store first",
    )
