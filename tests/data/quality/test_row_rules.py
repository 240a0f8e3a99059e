"""A rule is one boolean expression over one row; any other SQL is refused."""

import re
from typing import Any

import pyarrow as pa
import pytest

from tests.builders.contracts import column
from wellspring.data.quality import row_rules
from wellspring.errors import ProjectError
from wellspring.records.contracts import RowRule

COLUMNS = (
    column("paid", "decimal128(12, 2)"), column("charged", "decimal128(12, 2)"), column("kind"), column("day",
        "date32[day]"),
    column("seen", "timestamp[us, tz=UTC]"), column("count", "int64"), column("flag", "bool"), column("rate",
        "float64"),
)  # fmt: skip
SCHEMA = pa.schema([("count", pa.int64()), ("kind", pa.string())])


def rule(sql: str, name: str = "r") -> RowRule:
    return RowRule(name=name, sql=sql, description="it is so")


@pytest.mark.parametrize(
    "sql",
    [
        "paid <= charged", "kind <> 'a' OR (day IS NOT NULL AND paid >= 0)", "kind IN ('a', 'it''s')", "flag",
        "NOT flag",
        "day + INTERVAL 3 DAYS > DATE '2024-01-01'", "coalesce(paid, 0) + abs(rate) = charged", "kind LIKE 'x%'",
        "CASE WHEN flag THEN paid = 0 ELSE true END", "count BETWEEN 1 AND 9", "kind IS DISTINCT FROM 'x'",
        "length(kind) = 3", "seen < TIMESTAMP '2030-01-01 00:00:00'", "PAID <= Charged", "count - -1 > 0",
    ],
)  # fmt: skip
def test_an_expression_over_declared_columns_is_a_rule(sql: str):
    assert row_rules.check_rules([rule(sql)], COLUMNS) == [None]


def test_a_column_named_like_a_statement_opens_no_statement():
    named = (column("select", "int64"), column("table", "int64"))
    for sql in ("(select 1) = 1", "(table rows) = 1", "select = 1"):
        assert "is not allowed" in (row_rules.check_rules([rule(sql)], named)[0] or "")


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("paid <= charged; DROP TABLE rows", "is not allowed"),
        ("(SELECT 1) = 1", "'SELECT' is not allowed"),
        ("count IN (SELECT 1)", "'SELECT' is not allowed"),
        ("EXISTS (FROM rows)", "function"),
        ("flag IS DISTINCT FROM (FROM rows)", "FROM"),
        ("count = 1 --", "comment"),
        ("count /* = 1", "comment"),
        ("flag) OR (true", "closing bracket"),
        ("(flag", "opening bracket"),
        ("read_csv('x') IS NULL", "function"),
        ("getenv('HOME') = 'x'", "function"),
        ("sum(count) > 1", "function"),
        ('"flag"', "is not allowed"),
        ("$$x$$ = kind", "is not allowed"),
        ("kind = E'\\x'", "not a declared column"),
        ("surprise = 1", "not a declared column"),
        ("rows.count = 1", "is not allowed|is not a declared column"),
        ("count", "not BOOLEAN"),
        ("flag, flag", "not BOOLEAN"),
        ("kind = ", "Error"),
        ("", "not BOOLEAN"),
        ("(VALUES (1)) = 1", "is not a declared column|is not allowed"),
    ],
)
def test_invalid_rule_is_refused(sql: str, error: str):
    result = row_rules.check_rules([rule(sql)], COLUMNS)[0]
    assert result is not None
    assert re.search(error, result), result


def test_rule_finds_violating_rows_and_ignores_null():
    table = pa.table({"count": [1, 5, None, 9], "kind": ["a", "b", "c", None]}, schema=SCHEMA)
    result = row_rules.find_violations(
        table, [rule("count < 5", "few"), rule("kind = 'a'", "a")], (column("count", "int64"), column("kind"))
    )
    assert result == {"few": [1, 3], "a": [1, 2]}


def test_a_table_may_have_a_column_of_any_name():
    table = pa.table({"place": [1, 2], "row_number": [7, 8]})
    assert row_rules.find_violations(table, [rule("place = 1")], (column("place", "int64"),)) == {"r": [1]}


def test_unchecked_rule_is_never_run():
    with pytest.raises(ProjectError, match="comment"):
        row_rules.find_violations(pa.table({"count": [1]}), [rule("count = 1 --")], (column("count", "int64"),))


@pytest.mark.parametrize(
    ("values", "declared", "sql"),
    [
        ([3, 2**62, None, 1, 2**61], "int64", "count * count > 5"),
        ([3, -(2**63), None, -3, -(2**63)], "int64", "abs(count) > 3 or count = 3 or count + 0 is null"),
        (["a", "(", None, "b", "["], "string", "regexp_matches('a', count)"),
    ],
)
def test_a_row_on_which_a_rule_cannot_be_calculated_violates_it(values: list[Any], declared: str, sql: str):
    table = pa.table({"count": values})
    violations = row_rules.find_violations(table, [rule(sql)], (column("count", declared),))
    assert list(violations.values()) == [[1, 3, 4]]
