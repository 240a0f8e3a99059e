"""A masked row shows column names and listed values, and no personal data."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tests.builders.originals import contract
from wellspring.enclave.masking import EMPTY_VALUE, HIDDEN_VALUE, UNDECLARED, list_masked_inputs, mask_row
from wellspring.records.contracts import ContractColumn

COLUMNS = (
    ContractColumn(name="claim_id", type="string", egress="token", domain="claim", classification="identifier"),
    ContractColumn(
        name="claim_type", type="string", egress="plain", classification="operational", enum=("office", "other")
    ),
    ContractColumn(name="charge_amount", type="decimal128(12, 2)", egress="plain", classification="financial"),
    ContractColumn(name="service_date", type="date32[day]", egress="plain", classification="operational"),
    ContractColumn(name="admitted", type="date32[day]", egress="year", classification="operational"),
    ContractColumn(name="birth_date", type="date32[day]", egress="plain", classification="identifier"),
    ContractColumn(name="note", type="string", egress="plain", classification="operational"),
    ContractColumn(name="is_new", type="bool", egress="plain", classification="operational"),
    ContractColumn(name="sex", type="string", egress="never", classification="identifier", enum=("F", "M")),
    ContractColumn(name="zip", type="string", egress="prefix(3)", classification="contact"),
)  # fmt: skip
CONTRACT = contract(columns=COLUMNS)


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("claim_id", "C-1", HIDDEN_VALUE),
        ("claim_type", "other", "other"),
        ("claim_type", "900-12-3456", HIDDEN_VALUE),
        ("claim_type", "***", HIDDEN_VALUE),
        ("charge_amount", "-12.50", HIDDEN_VALUE),
        ("charge_amount", "12345678", HIDDEN_VALUE),
        ("charge_amount", "", EMPTY_VALUE),
        ("sex", "F", HIDDEN_VALUE),
        ("charge_amount", "900123456", HIDDEN_VALUE),
        ("charge_amount", "900-12-3456", HIDDEN_VALUE),
        ("charge_amount", "Fausto", HIDDEN_VALUE),
        ("service_date", "2026-02-30", HIDDEN_VALUE),
        ("service_date", "1950-01-01", HIDDEN_VALUE),
        ("is_new", "true", HIDDEN_VALUE),
        ("service_date", "30.02.2026", HIDDEN_VALUE),
        ("admitted", "2026-02-28", HIDDEN_VALUE),
        ("birth_date", "1950-01-01", HIDDEN_VALUE),
        ("note", "12", HIDDEN_VALUE),
        ("zip", "10001", HIDDEN_VALUE),
        ("zip", "", EMPTY_VALUE),
        ("claim_id", None, EMPTY_VALUE),
    ],
)
def test_only_values_that_the_contract_lists_are_shown(column: str, value: str | None, shown: str) -> None:
    assert mask_row({column: value}, CONTRACT) == {column: shown}


def test_the_name_of_an_undeclared_column_is_not_shown() -> None:
    row = {"note": "x", "Fausto Testperson": "1", "member 7": "", "900-12-3456": None}
    assert mask_row(row, CONTRACT) == {"note": HIDDEN_VALUE, UNDECLARED: "2"}
    assert mask_row({"note": "x", "Fausto Testperson": None}, CONTRACT) == {"note": HIDDEN_VALUE}


def test_of_dates_and_nested_values_only_their_presence_is_listed():
    rows = pa.table(
        {
            "kind": pa.array(["office", None]).dictionary_encode(),
            "day": pa.array([1 << 30, None], pa.date32()),
            "parts": pa.array([None, [1]], pa.list_(pa.int64())),
            "number": pa.array([7, None]),
        }
    )
    assert list(list_masked_inputs(rows)) == [
        {"kind": "office", "day": HIDDEN_VALUE, "parts": None, "number": "7"},
        {"kind": None, "day": None, "parts": HIDDEN_VALUE, "number": None},
    ]
