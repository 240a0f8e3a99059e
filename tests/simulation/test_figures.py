"""Growth of folders: linear growth below its limit passes, a growth that grows does not."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.figures import (
    WARM_UP_DAYS,
    DayFigures,
    GrowthLimit,
    find_excess,
    find_slower_days,
    measure_growth,
)

LIMITS = {"ledger": GrowthLimit(120, "entries")}
KIB = 1024


def make_days(count: int, size: Callable[[int], int]) -> list[DayFigures]:
    """Make days on each of which the folder `ledger` has a size in KiB."""
    return [DayFigures(str(day), "", 1.0, 1.0, {}, 0, 0, 0, {"ledger": size(day) * KIB}) for day in range(count)]


def test_linear_growth_below_the_limit_passes():
    growth = measure_growth(make_days(30, lambda day: 500 + 90 * day))
    assert [(item.folder, item.first, item.last) for item in growth] == [("ledger", 90 * KIB, 90 * KIB)]
    assert find_excess(growth, LIMITS) == []


def test_linear_growth_above_the_limit_is_found():
    problems = find_excess(measure_growth(make_days(30, lambda day: 200 * day)), LIMITS)
    assert problems == ["ledger grows by 204,800 bytes a day, and may by 120 KiB"]


def test_growth_that_grows_is_found_below_the_limit():
    problems = find_excess(measure_growth(make_days(30, lambda day: 2 * day * day)), LIMITS)
    assert any(problem.startswith("the growth of ledger grows") for problem in problems)


def test_what_servers_allocate_at_their_start_is_not_compared():
    growth = measure_growth(make_days(30, lambda day: 90 * day + (5000 if day >= WARM_UP_DAYS else 0)))
    assert find_excess(growth, LIMITS) == []


def test_a_folder_without_a_limit_is_found():
    assert find_excess(measure_growth(make_days(30, lambda _: 1)), {}) == ["ledger: no limit is stated for this folder"]


def test_a_size_that_goes_up_and_down_has_a_maximum():
    growth = measure_growth(make_days(30, lambda day: 50 * (day % 14)))
    assert find_excess(growth, {"ledger": GrowthLimit(0, "tiles", max_kib=650)}) == []
    assert find_excess(growth, {"ledger": GrowthLimit(0, "tiles", max_kib=600)}) == [
        "ledger had 665,600 bytes, and may have 600 KiB"
    ]


def test_days_that_take_more_and_more_cpu_are_found():
    days = make_days(30, lambda _: 1)
    assert find_slower_days(days) == []
    slower = [item._replace(cpu_seconds=2 + number / 10) for number, item in enumerate(days)]
    assert find_slower_days(slower) == ["a day took 2.8 s of CPU at first, and 4.5 s at the end"]


def test_a_few_days_are_not_compared():
    assert measure_growth(make_days(WARM_UP_DAYS + 4, lambda day: day)) == []
