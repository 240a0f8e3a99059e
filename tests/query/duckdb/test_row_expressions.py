"""Row expressions in DuckDB: errors without values, no files, and nulls that are not violations."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from wellspring.errors import ProjectError
from wellspring.query.duckdb import row_expressions
from wellspring.query.duckdb.row_expressions import check_expressions, find_false_rows


def test_an_expression_that_does_not_compile_or_is_not_boolean_is_reported():
    messages = check_expressions(
        {"sound": "a > 1", "unknown": "b > 1", "number": "a + 1", "decimal": "c < 1.5"},
        {"a": "int64", "c": "decimal128(12, 2)"},
    )
    assert set(messages) == {"unknown", "number"}
    assert messages["number"].endswith(", not BOOLEAN")


def test_false_is_found_and_null_is_not_a_violation():
    table = pa.table({"a": [1, None, 3], "place": [1, 1, 1]})
    assert find_false_rows(table, {"small": "a < 2", "place": "place = 1"}) == {"small": [2], "place": []}


def test_the_database_reaches_no_file_and_keeps_its_settings(tmp_path: Path):
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")
    with row_expressions._open_database() as database:
        for statement in (
            f"SELECT * FROM read_csv('{file}')", f"COPY (SELECT 1) TO '{tmp_path / 'out.csv'}'", "INSTALL httpfs",
            "SET enable_external_access = true", f"ATTACH '{tmp_path / 'x.db'}'", "SELECT * FROM COLUMNS",
        ):  # fmt: skip
            with pytest.raises(duckdb.Error):
                database.execute(statement)


def test_an_expression_that_fails_on_a_row_is_false_for_it():
    table = pa.table({"name": ["Ann Example", "1", None, "-1"]})
    assert find_false_rows(table, {"number": "name::integer > 0"}) == {"number": [0, 3]}


def test_an_error_quotes_no_value():
    with pytest.raises(ProjectError) as failed:
        find_false_rows(pa.table({"name": ["Ann Example"]}), {"number": "name > 0 and missing"})
    assert "Ann" not in failed.value.what + failed.value.fix
    assert failed.value.__cause__ is None
