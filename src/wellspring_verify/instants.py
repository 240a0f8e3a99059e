"""The instants of entries: RFC 3339 text in UTC with microseconds."""

from __future__ import annotations

from datetime import datetime

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def elapsed_seconds(early: str, late: str) -> float:
    """Return the seconds between two instants; infinity when either cannot be read."""
    if not (is_instant(early) and is_instant(late)):
        return float("inf")
    return (datetime.strptime(late, _FORMAT) - datetime.strptime(early, _FORMAT)).total_seconds()


def is_instant(text: str) -> bool:
    """Return whether a text is an instant, written as entries write it."""
    try:
        return datetime.strptime(text, _FORMAT).strftime(_FORMAT) == text
    except ValueError:
        return False
