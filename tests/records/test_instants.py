"""Instants survive the conversion to microseconds and back."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from wellspring.records.instants import from_epoch_micros, to_epoch_micros


@given(st.datetimes(min_value=datetime(1950, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_an_instant_survives_the_conversion_to_microseconds(instant: datetime):
    assert from_epoch_micros(to_epoch_micros(instant)) == instant


def test_microseconds_count_from_1970():
    assert to_epoch_micros(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC)) == 1_000_005
    assert to_epoch_micros(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)) == -1_000_000
