"""Read the text of a release, whose digest two users signed, and derive its decision for a score."""

from __future__ import annotations

from collections.abc import Mapping

from wellspring_verify.canonical import CanonicalValue, MalformedError, loads_canonical


def parse_release(content: bytes) -> dict[str, CanonicalValue] | None:
    """Read the text of a release; None if it is not one."""
    try:
        value = loads_canonical(content)
    except MalformedError:
        return None
    return value if isinstance(value, dict) else None


def decide_label(release: Mapping[str, CanonicalValue], score: str) -> str | None:
    """Return the label that a release gives to a score (float.hex); None if the release or the score is malformed.

    The second label is for a score at or above the threshold; both are compared as floats, as in the API.
    """
    threshold, labels = release.get("threshold"), release.get("labels")
    if not isinstance(threshold, str) or not isinstance(labels, list) or len(labels) != 2:
        return None
    try:
        label = labels[float.fromhex(score) >= float(threshold)]
    except (ValueError, OverflowError):
        return None
    return label if isinstance(label, str) else None
