"""The marker of the live edition is complete, or corrupted."""

import pytest

from tests.builders.feature_views import edition
from wellspring.errors import CorruptedError
from wellspring.stores.online.port import LiveMarker, online_namespace
from wellspring.stores.online.redis.marker import marker_key, parse_live_marker


def test_an_incomplete_marker_is_corrupted():
    live = LiveMarker("a" * 12, edition().known_since.replace(year=1970), "v")
    assert parse_live_marker([None, None, None, None]) is None
    assert parse_live_marker([None, None, None, b"w "]) is None
    assert parse_live_marker([b"a" * 12, b"0", b"v", None]) == live
    assert parse_live_marker([b"a" * 12, b"0", b"v", b"w x "]) == live._replace(pending_views=("w", "x"))
    for torn in ([b"a" * 12, None, b"v", None], [b"a" * 12, b"soon", b"v", None], []):
        with pytest.raises(CorruptedError, match="incomplete"):
            parse_live_marker(torn)


def test_each_tenant_has_a_live_edition_of_its_own():
    keys = {marker_key(online_namespace("acme", tenant)) for tenant in ("", "north", "south")}
    assert keys == {"ws:edition:acme", "ws:edition:acme:north", "ws:edition:acme:south"}
