"""Convert instants to microseconds since 1970, the form in which stores and arrays hold them, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_epoch_micros(instant: datetime) -> int:
    """Convert an instant to microseconds since 1970."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def from_epoch_micros(micros: int) -> datetime:
    """Convert microseconds since 1970 to an instant."""
    return _EPOCH + timedelta(microseconds=micros)
