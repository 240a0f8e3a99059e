"""How far an answer's knowledge can be trusted to be the newest: pure, told with every answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from wellspring.records.data import FeatureRow, FeatureViewSpec

_CLOCK_SKEW_SECONDS = 60


def freshness_state(
    rows: Mapping[str, FeatureRow | None], views: Sequence[FeatureViewSpec], as_of: datetime | None, now: datetime
) -> tuple[Literal["fresh", "stale", "missing"], int]:
    """Judge the rows that an answer rests on; return its state and the age of its knowledge in whole seconds.

    rows: by name of the view; every view is required. as_of: up to when the live edition's knowledge goes, None when
    none is live. Missing: a view has no row of this thing. Stale: the knowledge is older than a view allows, or its
    instant lies in the future by more than clocks differ, so that its age cannot be told.
    """
    seconds = (now - as_of).total_seconds() if as_of is not None else 0.0
    age = max(0, int(seconds))
    if as_of is None or any(rows.get(view.name) is None for view in views):
        return "missing", age
    limits = [view.max_age_seconds for view in views if view.max_age_seconds is not None]
    if seconds < -_CLOCK_SKEW_SECONDS or any(seconds > limit for limit in limits):
        return "stale", age
    return "fresh", age
