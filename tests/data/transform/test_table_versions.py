"""The version of a table follows its SQL and that of all models behind it, and nothing else."""

import pytest
from pydantic import ValidationError

from wellspring.data.transform.table_versions import MAX_SQL_LENGTH, CompiledModel, compute_table_versions

STAGED = CompiledModel(name="model.staged", sql="select a from visit", upstream=("source.visit",))
BRIEF = CompiledModel(name="model.brief", sql="", upstream=("model.staged",))
VISITS = CompiledModel(name="model.visits", sql="select count(*) from staged", upstream=("model.brief",))
SECOND = CompiledModel(name="model.other", sql="select 1", upstream=())
TABLES = {"visits": "model.visits", "other": "model.other"}


def versions(*models: CompiledModel, hooks: str | None = None) -> dict[str, str]:
    return compute_table_versions(models, TABLES, str.casefold, hooks=hooks)


def test_a_change_far_upstream_makes_a_new_version_of_each_table_that_reads_it():
    first = versions(STAGED, BRIEF, VISITS, SECOND)
    second = versions(STAGED.model_copy(update={"sql": "select b from visit"}), BRIEF, VISITS, SECOND)
    assert first["visits"] != second["visits"]
    assert first["other"] == second["other"]


def test_what_normalizes_to_the_same_text_is_the_same_version():
    shouted = VISITS.model_copy(update={"sql": VISITS.sql.upper()})
    assert versions(STAGED, BRIEF, VISITS, SECOND) == versions(SECOND, shouted, BRIEF, STAGED)


def test_another_source_makes_a_new_version():
    moved = STAGED.model_copy(update={"upstream": ("source.stay",)})
    assert versions(STAGED, BRIEF, VISITS, SECOND)["visits"] != versions(moved, BRIEF, VISITS, SECOND)["visits"]


def test_with_hooks_each_change_of_the_project_makes_new_versions():
    assert versions(STAGED, BRIEF, VISITS, SECOND, hooks="1" * 64) != versions(STAGED, BRIEF, VISITS, SECOND)
    assert versions(SECOND, VISITS, hooks="1" * 64)["other"] != versions(SECOND, VISITS, hooks="2" * 64)["other"]


def test_models_that_read_each_other_come_to_an_end():
    first = SECOND.model_copy(update={"upstream": ("model.visits",)})
    second = VISITS.model_copy(update={"upstream": ("model.other",)})
    assert set(versions(first, second)) == set(TABLES)


def test_sql_longer_than_the_limit_is_refused():
    with pytest.raises(ValidationError):
        CompiledModel(name="m", sql="x" * (MAX_SQL_LENGTH + 1), upstream=())
