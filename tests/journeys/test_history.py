"""A short sample of the benchmark of a growing history: no catalog load is added by the drops that came before."""

from __future__ import annotations

import pytest

from benchmarks import history

pytestmark = pytest.mark.slow


def test_the_figures_of_a_short_history(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history, "REPEATS", 1)
    figures = history.measure_history((4, 12), lambda line: None)
    assert list(figures) == [4, 12]
    for costs in figures.values():
        assert tuple(costs) == history.OPERATIONS
        assert all(cost.cpu > 0 and cost.seconds > 0 for cost in costs.values())
    assert {name: cost.loads for name, cost in figures[4].items()} == {
        name: cost.loads for name, cost in figures[12].items()
    }
    assert history.render_figures(figures).count("\n") == 2 * len(history.OPERATIONS) + 1


def test_growth_is_described():
    cost = history.Cost
    figures = {
        10: {history.EMPTY: cost(1, 0.1, 4), history.SEAL: cost(1, 0.001, 0)},
        200: {history.EMPTY: cost(9, 0.14, 6), history.SEAL: cost(9, 0.007, 1)},
        1000: {history.EMPTY: cost(1, 0.16, 7), history.SEAL: cost(1, 0.009, 2)},
    }
    assert history.find_growth(figures) == [
        "empty ingest after 1000 drops: cpu 0.160, first 0.100",
        "empty ingest after 1000 drops: loads 7.000, first 4.000",
        "sealing after 1000 drops: cpu 0.009, first 0.001",
        "sealing after 1000 drops: loads 2.000, first 0.000",
    ]
