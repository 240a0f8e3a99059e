"""Files that are dated ahead are finished once they have not changed for a while."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from wellspring.data.sources.port import RemoteFile
from wellspring.enclave.file_watch import FileWatch, file_version

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
AHEAD = RemoteFile("a.csv", 5, NOON + timedelta(hours=3), False, "v1", seconds_ahead=10_800)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_a_file_that_is_dated_ahead_settles_when_it_has_not_changed():
    watch = FileWatch()
    assert not watch.is_settled("inbox", AHEAD, 5, NOON)
    watch.observe_files("inbox", [AHEAD], NOON)
    assert not watch.is_settled("inbox", AHEAD, 5, after(4))
    watch.observe_files("inbox", [AHEAD._replace(seconds_ahead=10_796)], after(4))
    assert watch.is_settled("inbox", AHEAD, 5, after(5))
    assert not watch.is_settled("lab", AHEAD, 5, after(5))


@pytest.mark.parametrize(
    "changed",
    [AHEAD._replace(size=6), AHEAD._replace(identity="v2"), AHEAD._replace(modified=NOON + timedelta(hours=4))],
)
def test_each_change_of_the_file_starts_the_wait_again(changed: RemoteFile):
    watch = FileWatch()
    watch.observe_files("inbox", [AHEAD], NOON)
    watch.observe_files("inbox", [changed], after(5))
    assert not watch.is_settled("inbox", changed, 5, after(9))
    assert not watch.is_settled("inbox", AHEAD, 5, after(9))
    assert watch.is_settled("inbox", changed, 5, after(10))


def test_a_file_that_was_gone_is_watched_anew():
    watch = FileWatch()
    watch.observe_files("inbox", [AHEAD], NOON)
    watch.observe_files("inbox", [], after(5))
    assert watch.listed_version("inbox", "a.csv") == ""
    watch.observe_files("inbox", [AHEAD], after(6))
    assert watch.listed_version("inbox", "a.csv") == file_version(AHEAD)
    assert not watch.is_settled("inbox", AHEAD, 5, after(10))


def test_a_file_without_a_date_settles_when_it_has_not_changed():
    watch, undated = (
        FileWatch(),
        AHEAD._replace(modified=datetime.fromtimestamp(0, UTC), seconds_ahead=0, is_dated=False),
    )
    watch.observe_files("inbox", [undated], NOON)
    assert not watch.is_settled("inbox", undated, 5, after(4))
    assert watch.is_settled("inbox", undated, 5, after(5))


def test_the_source_decides_about_any_other_file():
    watch, plain = FileWatch(), AHEAD._replace(seconds_ahead=0)
    assert watch.is_settled("inbox", plain, 5, NOON)
    assert watch.is_settled("inbox", AHEAD, 0, NOON)
    assert not watch.is_settled("inbox", plain._replace(still_writing=True), 5, after(60))
