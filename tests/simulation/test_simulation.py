"""A short sample of `make simulate`: two days without transforms, in the second of which the clock is set back."""

from __future__ import annotations

import pytest

from tests.simulation.days import CLOCK_SET_BACK, run_simulation
from tests.simulation.figures import DayFigures

pytestmark = [pytest.mark.live]


def test_two_days_run_by_the_plan_and_their_packs_verify():
    figures: list[DayFigures] = []
    days = run_simulation(2, {CLOCK_SET_BACK: 2}, figures.append, transforms=False)
    assert days.problems == []
    assert [(item.day, item.events, item.jobs, item.packs) for item in figures] == [
        ("2030-02-21", "", {"succeeded": 2}, 1),
        ("2030-02-22", CLOCK_SET_BACK, {"succeeded": 2}, 1),
    ]
