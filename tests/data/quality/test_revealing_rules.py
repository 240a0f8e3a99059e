"""A rule asks of a protected column only whether it is missing, how long it is, and how it compares with another."""

import pytest

from tests.builders.contracts import column
from wellspring.data.quality import row_rules
from wellspring.data.quality.revealing_rules import explain_revealing_rule
from wellspring.records.contracts import RowRule

COLUMNS = (
    column("member_id", egress="token", domain="member"), column("holder_id", egress="token", domain="member"),
    column("last_name", egress="never"), column("born", "date32[day]", egress="year"), column("note", egress="masked"),
    column("starts", "date32[day]"), column("kind"), column("pieces", "int64"), column("left", egress="never"),
    column("salary", "int64", egress="never"), column("flag", "bool"),
)  # fmt: skip


@pytest.mark.parametrize(
    "sql",
    [
        "kind LIKE 'x%' AND pieces BETWEEN 1 AND 9", "born <= starts", "starts >= born",
        "kind <> 'self' OR member_id = holder_id",
        "(kind = 'x') = (Last_Name IS NOT NULL)", "last_name IS NULL",
        "length(last_name) <= 40 and length ( note ) > 0",
        "NOT member_id <> holder_id", "CASE WHEN born < starts THEN flag ELSE note IS NULL END",
        "coalesce(last_name = kind, true)",
        "left(kind, 2) = 'ab'", "salary >= pieces", "length(kind) = length(kind)",
    ],
)  # fmt: skip
def test_shapes_that_say_little_are_allowed(sql: str):
    assert row_rules.check_rules([RowRule(name="r", sql=sql, description="")], COLUMNS) == [None]
    assert explain_revealing_rule(sql, COLUMNS) == ""


@pytest.mark.parametrize(
    "sql",
    [
        "last_name <> 'smith'", "'smith' <> last_name", "last_name LIKE 's%'", "substr(last_name, 1, 1) <> 'd'",
        "LAST_NAME > 'm'",
        "last_name IN ('a', 'b')", "left(last_name, 1) = 'a'", "starts_with(last_name, 'a')",
        "regexp_matches(last_name, '^a')",
        "last_name || 'x' = kind", "kind = last_name || 'x'", "upper(last_name) = kind", "kind = upper(last_name)",
        "born < DATE '1980-05-06'", "born <= starts - INTERVAL 40 YEARS", "starts - INTERVAL 40 YEARS >= born",
        "date_diff('day', born, starts) > 5", "year(born) = 1980", "born + 1 <= starts", "kind < last_name",
        "last_name < kind",
        "last_name BETWEEN 'a' AND 'm'", "'m' BETWEEN 'a' AND last_name = kind",
        "coalesce(last_name, 'x') = kind", "nullif(last_name, 'smith') IS NULL",
        "CASE last_name WHEN 'a' THEN true ELSE false END",
        "CASE WHEN flag THEN last_name ELSE 'x' END = kind", "length(last_name) + pieces > 3",
        "pieces - length(last_name) > 3",
        "length(trim(last_name)) > 3", "length(last_name) = pieces", "salary > 1000", "1000 < salary",
        "salary - 1000 > pieces",
        "salary > pieces + 1000", "pieces * 2 < salary", "greatest(last_name, 'm') = 'm'",
        "(last_name = kind) = last_name IS NULL",
        "kind = left (kind, 2) AND last_name = 'a'", "last_name IS DISTINCT FROM 'smith'", "salary % 2 = 0",
    ],
)  # fmt: skip
def test_rule_that_asks_what_a_protected_column_holds_is_explained(sql: str):
    assert row_rules.check_rules([RowRule(name="r", sql=sql, description="")], COLUMNS) == [None]
    assert explain_revealing_rule(sql, COLUMNS)


@pytest.mark.parametrize("sql", ["last_name = kind = flag", "'m' BETWEEN 'a' AND last_name <= kind"])
def test_rule_that_another_engine_might_accept_is_explained(sql: str):
    assert explain_revealing_rule(sql, COLUMNS)
