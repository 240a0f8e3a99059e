"""Freshness of the features behind a prediction; every prediction reports it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from wellspring.records.features import FeatureRow, FeatureViewSpec

_CLOCK_SKEW_SECONDS = 60


def freshness_state(
    rows: Mapping[str, FeatureRow | None], views: Sequence[FeatureViewSpec], as_of: datetime | None, now: datetime
) -> tuple[Literal["fresh", "stale", "missing"], int]:
    """Return the freshness state of a prediction's feature rows, and the age of the features in whole seconds.

    rows: by view name; every view is required. as_of: knowledge cutoff of the live edition, None when none is live.
    Missing: a view has no row for the entity. Stale: the features are older than a view allows, or `as_of` is in the
    future by more than the clock skew, so that their age is unknown.
    """
    seconds = (now - as_of).total_seconds() if as_of is not None else 0.0
    age = max(0, int(seconds))
    if as_of is None or any(rows.get(view.name) is None for view in views):
        return "missing", age
    limits = [view.max_age_seconds for view in views if view.max_age_seconds is not None]
    if seconds < -_CLOCK_SKEW_SECONDS or any(seconds > limit for limit in limits):
        return "stale", age
    return "fresh", age
