"""Instants of entries: only the one form that entries write, and the seconds between two."""

import pytest

from wellspring_verify.instants import elapsed_seconds, is_instant

NOON = "2026-11-25T12:00:00.000000Z"


@pytest.mark.parametrize("text", ["", "2026-11-25", "2026-11-25T12:00:00Z", "2026-11-25T12:00:00.0Z", "noon"])
def test_other_forms_are_no_instants(text: str):
    assert not is_instant(text)
    assert elapsed_seconds(NOON, text) == elapsed_seconds(text, NOON) == float("inf")


def test_the_seconds_between_two_instants():
    assert is_instant(NOON)
    assert elapsed_seconds(NOON, "2026-11-25T12:00:01.500000Z") == 1.5
    assert elapsed_seconds("2026-11-25T12:00:01.500000Z", NOON) == -1.5
