"""Two versions of a view are compared by key and bit by bit, and only what differs is described."""

from __future__ import annotations

import pyarrow as pa

from tests.builders.feature_views import rows, token, view
from wellspring.data.features.feature_diff import Distribution, ViewDiff, ViewRows, describe_values, diff_view
from wellspring.records.features import FeatureSpec

NUMBERS = {"denials": "int64", "rate": "float64", "plan": "string"}


def side(version: str, *values: dict[str, object], features: dict[str, str] = NUMBERS) -> ViewRows:
    spec = view("member_history", features).model_copy(update={"version": version})
    return ViewRows(spec, rows(spec, [{"member_id": token(n), **value} for n, value in enumerate(values)]))


def diff(before: ViewRows, after: ViewRows) -> ViewDiff:
    return diff_view(before, after)


def test_equal_rows_differ_in_no_feature():
    values = ({"denials": 1, "rate": 0.5, "plan": "a"}, {"denials": None, "rate": float("nan"), "plan": None})
    result = diff(side("a", *values), side("b", *values))
    assert (result.compared, result.features) == (2, ())
    assert (result.before_version, result.after_version) == ("a", "b")


def test_a_changed_feature_is_described_on_both_sides():
    before = side("a", {"denials": 1, "rate": 0.0}, {"denials": 2, "rate": 1.0}, {"denials": 3, "rate": None})
    after = side("b", {"denials": 1, "rate": -0.0}, {"denials": 2, "rate": 1.0}, {"denials": 3, "rate": 3.0})
    (changed,) = diff(before, after).features
    # Zero differs from negative zero, and a value from none.
    assert (changed.feature, changed.changed) == ("rate", 2)
    assert changed.before == Distribution(rows=3, nulls=1, mean=0.5, quantiles=(0.05, 0.5, 0.95))
    assert changed.after is not None
    assert (changed.after.nulls, changed.after.quantiles[1]) == (0, 1.0)


def test_rows_of_one_side_only_are_counted_and_not_compared():
    result = diff(side("a", {"denials": 1}), side("b", {"denials": 1}, {"denials": 5}))
    assert (result.rows_before, result.rows_after, result.compared, result.features) == (1, 2, 1, ())


def test_an_added_and_a_removed_feature_have_one_side():
    before = side("a", {"denials": 1, "rate": 0.5})
    after = side("b", {"denials": 1, "age": 7}, features={"denials": "int64", "age": "int64", "plan": "string"})
    changed = {item.feature: item for item in diff(before, after).features}
    assert set(changed) == {"age", "rate"}
    assert (changed["age"].before, changed["rate"].after) == (None, None)


def test_a_feature_of_another_type_has_changed_in_each_row():
    before = side("a", {"denials": 1})
    after = side("b", {"denials": 1.0}, features={**NUMBERS, "denials": "float64"})
    (changed,) = diff(before, after).features
    assert (changed.feature, changed.changed) == ("denials", 1)


def test_only_declared_categories_are_listed():
    feature = FeatureSpec(name="plan", type="string", description="x", categories=("gold", "silver"))
    table = pa.table({"plan": ["gold", "gold", "Ann Smith", None]})
    assert describe_values(feature, table) == Distribution(rows=4, nulls=1, shares={"gold": 2})
    flag = FeatureSpec(name="covered", type="bool", description="x")
    assert describe_values(flag, pa.table({"covered": [True, False, True]})).shares == {"false": 1, "true": 2}


def test_a_feature_without_a_finite_number_has_no_mean():
    feature = FeatureSpec(name="rate", type="float64", description="x")
    for values in ([], [None], [float("nan"), float("inf")]):
        described = describe_values(feature, pa.table({"rate": pa.array(values, pa.float64())}))
        assert (described.mean, described.quantiles) == (None, ())


def test_a_view_without_rows_is_compared():
    spec = side("a").view
    assert diff(ViewRows(spec, rows(spec, [])), side("b", {"denials": 1})).compared == 0
