import pytest

from wellspring.models.spec.baselines import Baseline


def test_each_constructor_names_and_describes_its_baseline():
    baselines = [
        Baseline.constant(), Baseline.columns("a:b", "a:c"), Baseline.with_entity("npi", "a:b"),
        Baseline.heuristic("a:b", name="last_week"),
    ]  # fmt: skip
    assert [(baseline.name, baseline.description) for baseline in baselines] == [
        ("constant", "the same output for every row"),
        ("columns", "a model of 2 features"),
        ("columns_plus_entity", "a model of 1 features and npi as a category"),
        ("last_week", "a:b as it is, without training"),
    ]


def test_a_baseline_has_what_its_kind_needs():
    for build in (
        lambda: Baseline.columns(), lambda: Baseline.with_entity("npi"), lambda: Baseline.heuristic("b"),
        lambda: Baseline(kind="heuristic", name="h", features=("a:b", "a:c")),
        lambda: Baseline(kind="columns", name="c", features=("a:b",), entity="npi"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="Baseline"):
            build()
