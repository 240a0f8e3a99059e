"""Parsing of one column: accepted keys, errors, and egress `never` without a classification."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from wellspring.data.contracts.columns import parse_column, prefix_length
from wellspring.data.contracts.odcs import ContractDocument, read_document
from wellspring.records.contracts import ContractColumn


def read(**keys: Any) -> tuple[ContractColumn | None, ContractDocument]:
    output = {"name": "a", "logicalType": "string", "classification": "operational", **leaves("plain"), **keys}
    output = {key: value for key, value in output.items() if value is not None}
    page = read_document(
        Path("x.odcs.yaml"), yaml.safe_dump({"schema": [{"name": "t", "properties": [output]}]}).encode()
    )
    assert page.model is not None
    assert page.model.schema_ is not None
    return parse_column(
        page, (page.model.schema_[0].properties or [])[0], ("schema", 0, "properties", 0), ["taken"]
    ), page


def leaves(mode: str | None, domain: str | None = None) -> dict[str, Any]:
    output = {"egress": mode, "domain": domain}
    return {"customProperties": [{"property": name, "value": value} for name, value in output.items() if value] or None}


def good(**keys: Any) -> ContractColumn:
    result, page = read(**keys)
    assert page.errors == []
    assert result is not None
    return result


def error(**keys: Any) -> str:
    page = read(**keys)[1]
    assert len(page.errors) == 1, page.errors
    return page.errors[0]


@pytest.mark.parametrize(
    ("logical", "physical", "kind"),
    [
        ("string", "VARCHAR", "string"), ("integer", "BIGINT", "int64"), ("number", None, "float64"),
        ("number", "double", "float64"), ("number", "decimal(12,2)", "decimal128(12, 2)"),
        ("number", "NUMERIC( 5 , 0 )", "decimal128(5, 0)"), ("boolean", None, "bool"), ("date", None, "date32[day]"),
        ("timestamp", None, "timestamp[us, tz=UTC]"),
    ],
)  # fmt: skip
def test_logical_type_becomes_arrow_type(logical: str, physical: str | None, kind: str):
    assert good(logicalType=logical, physicalType=physical).type == kind


@pytest.mark.parametrize("mode", ["plain", "token", "year", "prefix(1)", "prefix(3)", "prefix(10)", "masked", "never"])
def test_a_column_without_a_classification_never_leaves(mode: str):
    kind = "date" if mode == "year" else "string"
    output = leaves(mode, "claim" if mode == "token" else None)
    result = good(logicalType=kind, classification=None, **output)
    assert (result.egress, result.domain) == ("never", None)
    assert good(logicalType=kind, **output).egress == mode


def test_prefix_length_is_the_number_of_a_prefix_rule():
    assert [prefix_length(rule) for rule in ("prefix(1)", "prefix(10)", "plain", "never")] == [1, 10, None, None]


@pytest.mark.parametrize("domain", [False, True, 7, ["claim"]])
def test_domain_that_yaml_reads_as_non_text_is_reported(domain: Any):
    output = [{"property": "egress", "value": "token"}, {"property": "domain", "value": domain}]
    assert "needs a domain" in error(customProperties=output)


def test_column_with_egress_never_may_have_a_system_name():
    assert good(name="tenant", **leaves("never")).egress == "never"


def test_column_without_properties_never_leaves():
    assert good(classification=None, **leaves(None)).egress == "never"


def test_checks_are_read_from_keys_and_from_quality():
    quality = [
        {"metric": "nullValues", "mustBe": 0}, {"type": "library", "metric": "duplicateValues", "mustBe": 0},
        {"metric": "invalidValues", "arguments": {"validValues": ["02", "x"]}, "mustBe": 0},
    ]  # fmt: skip
    result = good(quality=quality, logicalTypeOptions={"pattern": "^[0-9]"})
    assert (result.required, result.unique, result.enum, result.pattern) == (True, True, ("02", "x"), "^[0-9]")
    assert good(required=True, unique=True).required


def test_bounds_are_numbers_or_dates():
    assert good(logicalType="integer", logicalTypeOptions={"minimum": 1, "maximum": 2}).maximum == 2.0
    day = good(logicalType="date", logicalTypeOptions={"minimum": "2020-01-01"})
    assert day.minimum == "2020-01-01"
    unquoted = read_document(Path("x"), b"schema: [{properties: [{logicalTypeOptions: {minimum: 2020-01-01}}]}]")
    assert unquoted.errors == []


@pytest.mark.parametrize(
    ("keys", "output"),
    [
        ({"name": "a b"}, "letters, digits and underscores"),
        ({"name": "Taken"}, "declared twice"),
        ({"name": "row_number"}, "reserved by wellspring"),
        ({"name": "Fault"}, "reserved by wellspring"),
        ({"name": "tenant"}, "'tenant' is a system column of the lake"),
        ({"name": "Known_Since", "logicalType": "timestamp"}, "is a system column of the lake"),
        ({"logicalType": "object"}, "a column's type is one of"),
        ({"logicalType": None}, "a column's type is one of"),
        ({"logicalType": "number", "physicalType": "decimal(39,2)"}, "38 digits"),
        ({"logicalType": "number", "physicalType": "decimal(2,3)"}, "38 digits"),
        ({"logicalType": "number", "physicalType": "money"}, "38 digits"),
        (leaves("open"), "set `egress` to plain, token"),
        (leaves("prefix(0)"), "prefix(n) with n from 1 to 10"),
        (leaves("prefix(11)"), "prefix(n) with n from 1 to 10"),
        (leaves("prefix(n)"), "prefix(n) with n from 1 to 10"),
        (leaves("prefix( 3)"), "prefix(n) with n from 1 to 10"),
        (leaves(None), "set `egress` to plain, token"),
        (leaves("token"), "needs a domain"),
        (leaves("token", "Claim Id"), "needs a domain"),
        (leaves("plain", "claim"), "only a column with egress `token` has a domain"),
        ({"logicalType": "integer", **leaves("token", "claim")}, "egress token needs a string column"),
        ({"logicalType": "integer", **leaves("prefix(3)")}, "egress prefix(3) needs a string column"),
        ({"logicalType": "date", **leaves("masked")}, "egress masked needs a string column"),
        (leaves("year"), "egress year needs a date"),
        ({"name": "member_birth_date", "logicalType": "date"}, "a date of birth may not have egress plain"),
        ({"name": "DOB"}, "a date of birth may not have egress plain"),
        ({"logicalTypeOptions": {"maxLength": 5}}, "a string column supports pattern; remove it"),
        ({"logicalType": "boolean", "logicalTypeOptions": {"minimum": 5}}, "a boolean column supports nothing"),
        ({"logicalType": "integer", "logicalTypeOptions": {"minimum": "x"}}, "an integer from -9223372036854775808"),
        ({"logicalType": "integer", "logicalTypeOptions": {"minimum": 2**63}}, "to 9223372036854775807"),
        ({"physicalType": "VARCHAR(20)"}, "A pattern can limit"),
        ({"physicalType": "decimal(12,2)"}, "a string column has the physical type"),
        ({"logicalType": "date", "physicalType": "timestamp"}, "date, date32"),
        ({"logicalType": "integer", "logicalTypeOptions": {"minimum": 2, "maximum": 1}}, "above the maximum"),
        ({"logicalType": "date", "logicalTypeOptions": {"maximum": "01/02/2020"}}, "2020-01-31"),
        ({"logicalTypeOptions": {"pattern": "("}}, "cannot be compiled"),
        ({"logicalTypeOptions": {"pattern": "(?=a)"}}, "look-around"),
        ({"quality": [{"type": "sql", "query": "true", "name": "x"}]}, "a column check has the metric"),
        ({"quality": [{"metric": "rowCount", "mustBe": 0}]}, "a column check has the metric"),
        ({"quality": [{"metric": "nullValues", "mustBe": 5}]}, "write `mustBe: 0`"),
        ({"quality": [{"metric": "nullValues"}]}, "write `mustBe: 0`"),
        ({"quality": [{"metric": "invalidValues", "mustBe": 0}]}, "validValues"),
        ({"quality": [{"metric": "invalidValues", "mustBe": 0, "arguments": {"pattern": "x"}}]}, "validValues"),
        ({"quality": [{"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": [2, True]}}]},
            "quote every"),
        ({"logicalType": "date", "quality": [
            {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": ["2020-01-01"]}}]},
            "string or an integer"),
        ({"enum": [{"value": "x"}]}, "metric invalidValues"),
        ({"properties": [{"name": "b"}]}, "does not enforce this ODCS key"),
        ({"pattern": "x"}, "unknown key"),
    ],
)  # fmt: skip
def test_invalid_column_is_reported(keys: dict[str, Any], output: str):
    assert output in error(**keys)


def test_a_primary_key_column_is_required():
    assert good(primaryKey=True, **leaves("token", "claim")).required
    assert not good().required


def test_a_limit_keeps_its_digits_and_is_finite():
    assert good(logicalType="integer", logicalTypeOptions={"maximum": 2**53 + 1}).maximum == 2**53 + 1
    assert "write a number" in error(logicalType="number", logicalTypeOptions={"minimum": float("nan")})
    assert "write a number" in error(logicalType="number", logicalTypeOptions={"maximum": float("inf")})


def test_limits_with_and_without_a_zone_are_compared_as_instants():
    options = {
        "minimum": "2026-01-01T00:00:00",
        "maximum": "2026-01-01T03:00:00Z",
        "defaultTimezone": "America/New_York",
    }
    assert "above" in error(logicalType="timestamp", logicalTypeOptions=options)
    good(logicalType="timestamp", logicalTypeOptions={**options, "maximum": "2026-01-01T06:00:00Z"})


def test_a_pattern_is_a_text():
    assert "quoted" in error(logicalTypeOptions={"pattern": 12})


@pytest.mark.parametrize(("value", "steps"), [("a", "upper"), ("Jose\u0301", "trim nfc"), (" x", "trim")])
def test_a_valid_value_that_the_normalization_changes_is_an_error(value: str, steps: str):
    check = {"metric": "invalidValues", "arguments": {"validValues": [value]}, "mustBe": 0}
    properties = [{"property": "egress", "value": "plain"}, {"property": "normalization", "value": steps}]
    assert "the valid value" in error(quality=[check], customProperties=properties)


def test_a_valid_value_that_no_integer_column_can_hold_is_an_error():
    quality = {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": [1, 2**63]}}
    assert "no row can have another" in error(logicalType="integer", quality=[quality])


def test_a_time_that_must_name_its_zone_has_no_other_zone():
    assert good(logicalType="timestamp", logicalTypeOptions={"timezone": True}).zone_required
    assert not good(logicalType="timestamp", logicalTypeOptions={"timezone": False}).zone_required
    options = {"timezone": True, "defaultTimezone": "America/New_York"}
    assert "remove one of the two" in error(logicalType="timestamp", logicalTypeOptions=options)
