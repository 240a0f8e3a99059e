"""What a new version of a contract changes, and whether rows of both versions can be read together."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

import pytest

from tests.builders.contracts import column, contract
from wellspring.data.contracts.columns import prefix_length
from wellspring.data.contracts.contract_diff import (
    ContractDifference,
    compare_contracts,
    mark_added_columns,
    worst_effect,
)
from wellspring.records.contracts import ContractColumn, DataContract, EgressRule, RowRule

TIMESTAMP = "timestamp[us, tz=UTC]"


def diff(
    old: ContractColumn | list[ContractColumn], new: ContractColumn | list[ContractColumn]
) -> tuple[ContractDifference, ...]:
    """Compare two contracts of these columns, beside a key that stays."""
    first, second = (
        contract(column("id", required=True), *(item if isinstance(item, list) else [item]), key=("id",))
        for item in (old, new)
    )
    return compare_contracts(first, second)


def describe_only(
    old: ContractColumn | list[ContractColumn], new: ContractColumn | list[ContractColumn]
) -> tuple[str, str]:
    """Return effect and words of the only change."""
    (change,) = diff(old, new)
    return change.effect, change.text


def test_equal_contracts_have_no_changes():
    assert compare_contracts(contract(), contract(version="1.1.0", digest="1" * 64)) == ()
    assert worst_effect(()) == "compatible"


@pytest.mark.parametrize(
    ("added", "effect", "words"),
    [
        (column("b"), "compatible", "b is new: string, operational, leaves as plain"),
        (
            column("b", egress="token", domain="b", classification="identifier"),
            "compatible",
            "b is new: string, identifier, leaves as token",
        ),
        (column("b", egress="never", required=True), "compatible", "b is new: string, operational, does not leave"),
        (
            column("b", "int64", required=True),
            "breaking",
            "b is new: int64, operational, leaves as plain, required; rows that landed do not have it",
        ),
    ],
)
def test_a_new_column_is_compatible_if_it_is_nullable_or_does_not_leave(added: ContractColumn, effect: str, words: str):
    assert describe_only([], [added]) == (effect, words)


def test_a_removed_column_is_breaking_and_its_replacement_is_named():
    assert describe_only([column("a")], []) == ("breaking", "a is removed")
    renamed = diff([column("a", "int64")], [column("c", "int64")])
    assert [(change.effect, change.text) for change in renamed] == [
        ("breaking", "a is renamed to c"),
        ("compatible", "c is new: int64, operational, leaves as plain"),
    ]
    same_value = diff([column("a", path="x.y")], [column("c", "int64", path="X.Y")])
    assert same_value[0].text == "a is renamed to c"
    unlike = diff([column("a", "int64")], [column("c", "float64")])
    assert unlike[0].text == "a is removed"


def test_a_split_column_is_breaking():
    parts = [column("first_name", egress="token", domain="n"), column("last_name", egress="token", domain="n")]
    changes = diff([column("name", egress="token", domain="n")], parts)
    assert (changes[0].effect, changes[0].text) == ("breaking", "name is split into first_name, last_name")
    nested = [column("zip", path="address.zip"), column("city", path="address.city")]
    assert diff([column("address")], nested)[0].text == "address is split into zip, city"


def test_another_place_in_the_file_is_breaking():
    effect, words = describe_only([column("zip", path="home.zip")], [column("zip", path="work.zip")])
    assert (effect, words) == ("breaking", "zip reads work.zip of the file, not home.zip")


@pytest.mark.parametrize(
    ("old", "new", "effect", "words"),
    [
        (
            "decimal128(12, 2)",
            "decimal128(14, 2)",
            "compatible",
            "a is wider: from decimal128(12, 2) to decimal128(14, 2)",
        ),
        (
            "decimal128(12, 2)",
            "decimal128(10, 2)",
            "breaking",
            "a is narrower: from decimal128(12, 2) to decimal128(10, 2)",
        ),
        (
            "decimal128(12, 2)",
            "decimal128(14, 4)",
            "breaking",
            "a changes its type from decimal128(12, 2) to decimal128(14, 4)",
        ),
        ("int64", "float64", "breaking", "a changes its type from int64 to float64"),
        ("int64", "string", "breaking", "a changes its type from int64 to string"),
        ("string", "date32[day]", "breaking", "a changes its type from string to date32[day]"),
        ("date32[day]", TIMESTAMP, "breaking", f"a changes its type from date32[day] to {TIMESTAMP}"),
    ],
)
def test_only_a_wider_decimal_is_a_compatible_type(old: str, new: str, effect: str, words: str):
    assert describe_only(column("a", old), column("a", new)) == (effect, words)


def test_the_type_of_a_column_that_does_not_land_is_a_check():
    assert describe_only(column("a", "int64", egress="never"), column("a", "string", egress="never"))[0] == "weakened"


RULES: tuple[EgressRule, ...] = get_args(EgressRule)


def with_rule(rule: EgressRule) -> ContractColumn:
    """Make a column with an egress rule, of a type that may have it."""
    kind = "date32[day]" if rule == "year" else "string"
    return column("a", kind, egress=rule, domain="a" if rule == "token" else None)


def protection(rule: str) -> tuple[int, int]:
    """Rank a rule, the most protective highest: an oracle beside the table of the product."""
    order = ["plain", "prefix", "year", "masked", "token", "never"]
    length = prefix_length(rule)
    return order.index("prefix" if length else rule), -(length or 0)


@pytest.mark.parametrize(("old", "new"), [pair for pair in product(RULES, RULES) if pair[0] != pair[1]])
def test_each_change_of_an_egress_rule_is_weakened_exactly_if_it_protects_less(old: EgressRule, new: EgressRule):
    changes = [change for change in diff(with_rule(old), with_rule(new)) if "egress" in change.text]
    assert [change.effect for change in changes] == ["weakened" if protection(new) < protection(old) else "compatible"]
    # The landed type of a year is a number, that of every other rule for text is text.
    breaks = "year" in (old, new) and "never" not in (old, new)
    assert (worst_effect(diff(with_rule(old), with_rule(new))) == "breaking") == breaks


def test_a_column_of_the_key_keeps_its_form():
    def version(rule: str, domain: str | None) -> DataContract:
        return contract(column("id", egress=rule, domain=domain, required=True), key=("id",))

    changes = compare_contracts(version("plain", None), version("token", "id"))
    assert [(change.effect, change.code) for change in changes] == [("breaking", "changed_key"), ("compatible", "")]
    assert worst_effect(compare_contracts(version("token", "id"), version("token", "other"))) == "breaking"


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        ({"classification": "identifier"}, {"classification": "operational"}, "weakened"),
        ({"classification": "identifier"}, {"classification": ""}, "weakened"),
        ({"classification": "identifier"}, {"classification": "ours"}, "weakened"),
        ({"classification": "operational"}, {"classification": "identifier"}, "compatible"),
        ({"classification": ""}, {"classification": "identifier"}, "compatible"),
        ({"egress": "token", "domain": "a"}, {"egress": "token", "domain": "b"}, "weakened"),
        ({"normalization": ("trim", "nfc")}, {"normalization": ("trim", "nfc", "upper")}, "breaking"),
        ({"egress": "never"}, {"egress": "never", "normalization": ()}, "weakened"),
        ({"required": True}, {}, "weakened"),
        ({}, {"required": True}, "breaking"),
        ({"egress": "never"}, {"egress": "never", "required": True}, "compatible"),
        ({"unique": True}, {}, "weakened"),
        ({}, {"unique": True}, "compatible"),
        ({"enum": ("x", "y")}, {"enum": ("y", "z", "x")}, "compatible"),
        ({"enum": ("x", "y")}, {"enum": ("y", "x")}, None),
        ({"enum": ("x", "y")}, {"enum": ("x",)}, "breaking"),
        ({"enum": ("x", "y")}, {}, "weakened"),
        ({}, {"enum": ("x", "y")}, "compatible"),
        ({"pattern": "^a"}, {"pattern": "^ab"}, "weakened"),
        ({"pattern": "^a"}, {}, "weakened"),
        ({}, {"pattern": "^a"}, "compatible"),
        ({"title": "A"}, {"title": "B"}, "compatible"),
        ({"description": "A"}, {}, "compatible"),
    ],
)
def test_each_property_of_a_column_has_its_effect(old: dict[str, Any], new: dict[str, Any], effect: str | None):
    changes = diff(column("a", **old), column("a", **new))
    assert [change.effect for change in changes] == ([effect] if effect else [])


@pytest.mark.parametrize(
    ("name", "old", "new", "effect"),
    [
        ("minimum", None, 0, "compatible"), ("minimum", 0, None, "weakened"), ("minimum", 0, 10, "breaking"),
        ("minimum", 10, 9, "weakened"), ("minimum", 9, 10.5, "breaking"), ("minimum", 0, 0, None),
        ("maximum", None, 9, "compatible"), ("maximum", 9, None, "weakened"), ("maximum", 9, 10, "weakened"),
        ("maximum", 10, 9, "breaking"),
    ],
)  # fmt: skip
def test_a_limit_may_be_added_and_never_narrowed(name: str, old: Any, new: Any, effect: str | None):
    changes = diff(column("a", "int64", **{name: old}), column("a", "int64", **{name: new}))
    assert [change.effect for change in changes] == ([effect] if effect else [])


def test_limits_of_dates_and_times_are_compared_by_their_order():
    changes = diff(column("a", "date32[day]", minimum="2020-01-01"), column("a", "date32[day]", minimum="2019-12-31"))
    assert worst_effect(changes) == "weakened"
    changed_type = diff(column("a", "int64", minimum=9), column("a", "date32[day]", minimum="2019-12-31"))
    assert [change.code for change in changed_type] == ["changed_type"]


def test_the_zone_of_times_is_read_as_before():
    zone = "America/New_York"
    assert describe_only(column("a", TIMESTAMP), column("a", TIMESTAMP, timezone=zone))[0] == "breaking"
    assert describe_only(column("a", TIMESTAMP, zone_required=True), column("a", TIMESTAMP))[0] == "weakened"
    assert describe_only(column("a", TIMESTAMP), column("a", TIMESTAMP, zone_required=True))[0] == "compatible"


def rule(sql: str) -> RowRule:
    """Make the rule of a contract."""
    return RowRule(name="order", sql=sql, description="")


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        ({}, {"rules": (rule("a < b"),)}, "compatible"),
        ({"rules": (rule("a < b"),)}, {}, "weakened"),
        ({"rules": (rule("a < b"),)}, {"rules": (rule("a <= b"),)}, "weakened"),
        ({"same_key": "refuses"}, {"same_key": "corrects"}, "weakened"),
        ({}, {"person": "a"}, "compatible"),
        ({"person": "a"}, {}, "compatible"),
        ({"same_key": "corrects"}, {"same_key": "refuses"}, "compatible"),
        ({"max_quarantined_share": 0.1}, {}, "weakened"),
        ({"max_quarantined_share": 0.1}, {"max_quarantined_share": 0.2}, "weakened"),
        ({}, {"max_quarantined_share": 0.2}, "compatible"),
        ({"retention_days": 7}, {"retention_days": 8}, "weakened"),
        ({"retention_days": 7}, {"retention_days": 6}, "compatible"),
        ({"key": ("id",)}, {"key": ("id", "day")}, "breaking"),
        ({"source": "a"}, {"source": "b"}, "compatible"),
        ({"files": "a*"}, {"files": "b*"}, "compatible"),
        ({"format_settings": {"delimiter": "tab"}}, {}, "compatible"),
        ({"set": "daily"}, {}, "compatible"),
        ({"owner": "a"}, {"owner": "b"}, "compatible"),
    ],
)
def test_each_term_of_a_contract_has_its_effect(old: dict[str, Any], new: dict[str, Any], effect: str):
    assert [change.effect for change in compare_contracts(contract(**old), contract(**new))] == [effect]


def test_what_orders_the_versions_of_a_row_stays():
    ordered = contract(column("id"), column("recorded_at", TIMESTAMP))
    changes = compare_contracts(contract(column("id")), ordered)
    assert [change.effect for change in changes] == ["compatible", "breaking"]


def test_the_gravest_change_of_a_column_comes_first():
    old = column("a", "int64", description="before")
    new = column("a", "float64", description="after", unique=True)
    assert [change.effect for change in diff(old, new)] == ["breaking", "compatible", "compatible"]
    assert worst_effect(diff(old, new)) == "breaking"


def test_columns_are_marked_with_the_version_that_added_them():
    first = contract(column("a"))
    assert mark_added_columns(None, first) == first
    second = contract(column("a"), column("b"), column("c", egress="never", required=True), version="1.1.0")
    second = mark_added_columns(first, second)
    assert [item.added_in for item in second.columns] == [None, "1.1.0", None]
    third = contract(column("d"), column("b"), column("a"), version="1.2.0")
    assert {item.name: item.added_in for item in mark_added_columns(second, third).columns} == {
        "a": None, "b": "1.1.0", "d": "1.2.0",
    }  # fmt: skip
