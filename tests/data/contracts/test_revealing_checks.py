"""Checks that answer a question about a value which does not leave are named with what they reveal."""

from pathlib import Path
from typing import Any

import pytest

from tests.builders.contracts import EXPECTED, column, contract
from wellspring.data.contracts import contract as contracts
from wellspring.data.contracts.revealing_checks import find_revealing_checks
from wellspring.records.contracts import ContractColumn, RowRule

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
INSTANT = "timestamp[us, tz=UTC]"


def list_revealing(*columns: ContractColumn, **more: Any) -> list[str]:
    return [check.name for check in find_revealing_checks(contract(*columns, **more))]


@pytest.mark.parametrize("egress", ["token", "never", "masked", "prefix(3)"])
def test_list_of_values_or_a_pattern_that_spells_is_named_unless_the_column_leaves(egress: str):
    domain = "member" if egress == "token" else None
    checks: list[dict[str, Any]] = [{"enum": ("smith",)}, {"pattern": "^smith$"}]
    for check in checks:
        assert list_revealing(column("c7", egress=egress, domain=domain, **check)) == ["c7"]
        assert list_revealing(column("c7", **check)) == []
    assert list_revealing(column("c7", egress=egress, domain=domain, pattern="^[0-9]{5}$", required=True)) == []


@pytest.mark.parametrize(
    ("kind", "limits", "is_revealing"),
    [
        ("date32[day]", {"minimum": "1900-01-01", "maximum": "2035-12-31"}, False),
        ("date32[day]", {"minimum": "1980-05-06"}, True),
        ("date32[day]", {"minimum": "1980-12-31"}, True),
        ("date32[day]", {"maximum": "1980-01-01"}, True),
        (INSTANT, {"minimum": "2015-01-01T00:00:00+00:00", "maximum": "2035-12-31T23:59:59+00:00"}, False),
        (INSTANT, {"minimum": "2015-01-01T08:00:00+00:00"}, True),
        (INSTANT, {"maximum": "2015-12-31T00:00:00+00:00"}, True),
        ("int64", {"minimum": 0, "maximum": 9999999}, False),
        ("int64", {"minimum": -50, "maximum": 1999}, False),
        ("float64", {"minimum": 0.0, "maximum": 0.5}, False),
        ("int64", {"minimum": 1250}, True),
        ("int64", {"maximum": 37}, True),
        ("decimal128(12, 2)", {"maximum": 99.5}, True),
    ],
)
def test_limits_of_a_protected_column_are_ends_of_years_or_round(kind: str, limits: dict[str, Any], is_revealing: bool):
    assert list_revealing(column("born", kind, egress="never", **limits)) == ["born"] * is_revealing
    assert list_revealing(column("day", kind, **limits)) == []


def test_rule_is_named_with_its_name():
    rule = RowRule(name="first_letter", sql="substr(id, 1, 1) <> 'd'", description="")
    assert list_revealing(column("id", egress="token", domain="claim"), rules=(rule,)) == ["the rule first_letter"]
    assert list_revealing(column("id"), rules=(rule,)) == []


def test_contracts_of_the_examples_have_none():
    for folder in (EXAMPLES / "health_plan" / "contracts", EXAMPLES / "parcel_delivery" / "contracts"):
        for loaded_contract in contracts.load_all(folder, tenant="tests", known_since=EXPECTED):
            assert list(find_revealing_checks(loaded_contract)) == []
