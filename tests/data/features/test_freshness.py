from datetime import datetime, timedelta

import pytest

from tests.builders.feature_views import instant, token, view
from wellspring.data.features.freshness import freshness_state
from wellspring.records.features import FeatureRow

DAILY, ALWAYS = view("daily", max_age_seconds=86_400), view("always")
ROW = FeatureRow("daily", (token(1),), {}, instant(0), 0, "0123456789ab")
BOTH = {"daily": ROW, "always": ROW}


@pytest.mark.parametrize(
    ("seconds", "result"),
    [(0, ("fresh", 0)), (86_400, ("fresh", 86_400)), (86_400.5, ("stale", 86_400)), (90_000, ("stale", 90_000))],
)
def test_an_answer_is_stale_once_its_knowledge_is_older_than_any_of_its_views_allows(
    seconds: float, result: tuple[str, int]
):
    assert freshness_state(BOTH, [DAILY, ALWAYS], instant(0), instant(0) + timedelta(seconds=seconds)) == result


def test_a_view_without_a_limit_never_makes_an_answer_stale():
    assert freshness_state(BOTH, [ALWAYS], instant(0), instant(10**9)) == ("fresh", 10**9)


@pytest.mark.parametrize("rows", [{}, {"daily": ROW}, {"daily": ROW, "always": None}])
def test_an_answer_whose_view_has_no_row_is_missing_something_however_old_the_rest(rows: dict[str, FeatureRow | None]):
    assert freshness_state(rows, [DAILY, ALWAYS], instant(0), instant(90_000)) == ("missing", 90_000)


def test_without_a_live_edition_everything_is_missing():
    assert freshness_state(BOTH, [DAILY], None, instant(5)) == ("missing", 0)


@pytest.mark.parametrize(("now", "result"), [(instant(-60), "fresh"), (instant(-61), "stale")])
def test_knowledge_from_the_future_has_no_age_that_could_be_trusted(now: datetime, result: str):
    assert freshness_state(BOTH, [ALWAYS], instant(0), now) == (result, 0)
