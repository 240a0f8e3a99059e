"""The example's feature definitions: Feast takes them, and they say of each table what dbt says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.data import feasts
from wellspring.data import features
from wellspring.records.data import Views

EXAMPLE = Path(__file__).parents[2] / "examples/health_plan"
DBT = EXAMPLE / "dbt/models/features/features.yml"
KINDS = {"bigint": "int64", "double": "float64", "boolean": "bool", "varchar": "string"}
# Tokens that a table carries to be joined by; a model never sees them.
CARRIED = {"claim_features": {"member_id", "billing_npi", "rendering_npi"}}


@pytest.fixture(scope="module")
def views() -> Views:
    feasts.imported()
    return features.compiled(EXAMPLE / "features.py", "health_plan")


def test_each_table_that_dbt_builds_for_features_is_a_view_and_says_the_same_of_its_columns(views: Views):
    told = {model["name"]: model for model in yaml.safe_load(DBT.read_text())["models"]}
    assert {view.table for view in views.views} == set(told)
    for view in views.views:
        model = told[view.table]
        assert list(view.keys) == model["config"]["meta"]["keys"]
        other = {*view.keys, *CARRIED.get(view.name, set()), features.KNOWN, features.SEQUENCE}
        columns = {each["name"]: each["data_type"] for each in model["columns"]}
        assert other <= set(columns)
        assert [(each.name, each.type) for each in view.features] == [
            (name, KINDS[kind]) for name, kind in columns.items() if name not in other
        ]
        closed = {each.name: each.categories for each in view.features if each.categories}
        assert closed == {each["name"]: _accepted(each) for each in model["columns"] if _accepted(each)}


def _accepted(column: dict[str, object]) -> tuple[str, ...]:
    tests = column.get("data_tests")
    for each in tests if isinstance(tests, list) else []:
        if isinstance(each, dict) and "accepted_values" in each:
            return tuple(each["accepted_values"]["arguments"]["values"])
    return ()


def test_no_two_features_are_told_in_the_same_words(views: Views):
    words = [each.what for view in views.views for each in view.features]
    twice = sorted({each for each in words if words.count(each) > 1})
    assert twice == []


def test_each_view_has_an_owner_and_an_age_at_which_an_answer_is_stale(views: Views):
    assert [view.name for view in views.views if not view.owner or not view.max_age_seconds] == []


def test_feast_itself_takes_them(views: Views, tmp_path: Path):
    sources = {view.table: tmp_path / f"{view.table}.parquet" for view in views.views}
    store = features.feast_repo(views, tmp_path, sources, "localhost:0")
    assert sorted(each.name for each in store.list_feature_views()) == [view.name for view in views.views]
