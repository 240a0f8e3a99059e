"""The example's feature definitions: Feast takes them, and they say of each table what dbt says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.builders import feast
from wellspring.data.features import views as views_module
from wellspring.records.features import FeatureViews

EXAMPLE = Path(__file__).parents[2] / "examples/health_plan"
DBT = EXAMPLE / "dbt/models/features/features.yml"
KINDS = {"bigint": "int64", "double": "float64", "boolean": "bool", "varchar": "string"}
# Tokens that a table carries to be joined by; a model never sees them.
CARRIED = {"claim_features": {"member_id", "billing_npi", "rendering_npi"}}


@pytest.fixture(scope="module")
def views() -> FeatureViews:
    feast.imported()
    return views_module.compile_views(EXAMPLE / "features.py", "health_plan")


def test_each_table_that_dbt_builds_for_features_is_a_view_and_says_the_same_of_its_columns(views: FeatureViews):
    result = {model["name"]: model for model in yaml.safe_load(DBT.read_text())["models"]}
    assert {view.table for view in views.views} == set(result)
    for view in views.views:
        model = result[view.table]
        assert list(view.keys) == model["config"]["meta"]["keys"]
        second = {
            *view.keys,
            *CARRIED.get(view.name, set()),
            views_module.KNOWN_SINCE_COLUMN,
            views_module.SEQUENCE_COLUMN,
        }
        columns = {item["name"]: item["data_type"] for item in model["columns"]}
        assert second <= set(columns)
        assert [(feature.name, feature.type) for feature in view.features] == [
            (name, KINDS[kind]) for name, kind in columns.items() if name not in second
        ]
        closed = {feature.name: feature.categories for feature in view.features if feature.categories}
        assert closed == {item["name"]: _accepted(item) for item in model["columns"] if _accepted(item)}


def _accepted(column: dict[str, object]) -> tuple[str, ...]:
    tests = column.get("data_tests")
    for test in tests if isinstance(tests, list) else []:
        if isinstance(test, dict) and "accepted_values" in test:
            return tuple(test["accepted_values"]["arguments"]["values"])
    return ()


def test_no_two_features_have_the_same_description(views: FeatureViews):
    words = [feature.description for view in views.views for feature in view.features]
    twice = sorted({word for word in words if words.count(word) > 1})
    assert twice == []


def test_each_view_has_an_owner_and_an_age_at_which_an_answer_is_stale(views: FeatureViews):
    assert [view.name for view in views.views if not view.owner or not view.max_age_seconds] == []


def test_feast_itself_takes_them(views: FeatureViews, tmp_path: Path):
    sources = {view.table: tmp_path / f"{view.table}.parquet" for view in views.views}
    store = views_module.open_feast_store(views, tmp_path, sources, "localhost:0")
    assert sorted(item.name for item in store.list_feature_views()) == [view.name for view in views.views]
