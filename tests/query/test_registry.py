"""The registry of query engines: found by name, with options of their own."""

import pytest

from wellspring.errors import ProjectError
from wellspring.query.duckdb.engine import DuckDbEngine
from wellspring.query.registry import list_query_engines, open_query_engine


def test_the_engine_of_the_project_file_is_found_by_its_name():
    assert "duckdb" in list_query_engines()
    engine = open_query_engine("duckdb", {"threads": 1})
    assert isinstance(engine, DuckDbEngine)
    assert engine.capabilities.engine == "duckdb"


def test_an_unknown_engine_is_refused_with_the_nearest_name():
    with pytest.raises(ProjectError, match="unknown query engine 'duckdbb'") as refused:
        open_query_engine("duckdbb", {})
    assert "'duckdb'" in refused.value.fix


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thread": 1}, r"unknown key 'thread' in \[query.options\]; did you mean 'threads'"),
        ({"threads": "many"}, r"'threads' in \[query.options\]: Input should be a valid integer"),
    ],
)
def test_an_invalid_option_is_refused_by_name(options: dict[str, object], message: str):
    with pytest.raises(ProjectError, match=message):
        open_query_engine("duckdb", options)
