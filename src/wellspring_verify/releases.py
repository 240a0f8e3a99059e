"""What a release says of itself, in the text whose digest two people signed, and what it decides by that."""

from __future__ import annotations

from collections.abc import Mapping

from wellspring_verify.canonical import CanonicalValue, MalformedError, loads_canonical


def parse_release(content: bytes) -> dict[str, CanonicalValue] | None:
    """Read the text of a release; None if it is none."""
    try:
        value = loads_canonical(content)
    except MalformedError:
        return None
    return value if isinstance(value, dict) else None


def decide_label(release: Mapping[str, CanonicalValue], score: str) -> str | None:
    """Say which of its labels a release gives to a score (float.hex); None where it or the score cannot say.

    The second label is for a score at or above the threshold, both taken as floats, as the API takes them.
    """
    threshold, labels = release.get("threshold"), release.get("labels")
    if not isinstance(threshold, str) or not isinstance(labels, list) or len(labels) != 2:
        return None
    try:
        label = labels[float.fromhex(score) >= float(threshold)]
    except (ValueError, OverflowError):
        return None
    return label if isinstance(label, str) else None
