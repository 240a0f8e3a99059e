"""The marker of the live edition is complete, or corrupted."""

from collections.abc import Sequence

import pytest

from tests.builders.feature_views import edition
from wellspring.errors import CorruptedError
from wellspring.stores.online.feast_codec import seal_text
from wellspring.stores.online.port import LiveMarker, online_namespace
from wellspring.stores.online.redis.marker import marker_key, parse_live_marker

ROW_KEY = b"\x05" * 32


def parse(fields: Sequence[bytes | None]) -> LiveMarker | None:
    return parse_live_marker(marker_key("acme"), fields, ROW_KEY)


def test_an_incomplete_or_changed_marker_is_corrupted():
    live = LiveMarker("a" * 12, edition().known_since.replace(year=1970), "v")
    stored = (b"a" * 12, b"7", b"0", b"v")
    seal = seal_text(ROW_KEY, marker_key("acme").encode(), *stored)
    assert parse([None, None, None, None, None]) is None
    assert parse([*stored, seal]) == live
    changed = [[*stored[:place], b"9", *stored[place + 1 :], seal] for place in range(len(stored))]
    for torn in (*changed, [*stored, None], [*stored[:2], None, b"v", seal], []):
        with pytest.raises(CorruptedError, match="not one that a materialization wrote"):
            parse(torn)
    # Neither of another tenant nor of another set of views.
    for key in (marker_key("acme:north"), marker_key("acme", "w" * 64)):
        with pytest.raises(CorruptedError):
            parse_live_marker(key, [*stored, seal], ROW_KEY)


def test_each_tenant_has_a_live_edition_of_its_own():
    keys = {marker_key(online_namespace("acme", tenant)) for tenant in ("", "north", "south")}
    assert keys == {"ws:edition:acme", "ws:edition:acme:north", "ws:edition:acme:south"}
