"""A masked row shows columns and listed words, and nobody's values."""

from __future__ import annotations

import pytest

from tests.data.test_land import contract
from wellspring.enclave.masking import EMPTY, HIDDEN, masked
from wellspring.records.data import Column

COLUMNS = (
    Column(name="claim_id", type="string", leaves="token", domain="claim", classification="identifier"),
    Column(name="claim_type", type="string", leaves="as_is", classification="operational", enum=("office", "other")),
    Column(name="charge_amount", type="decimal128(12, 2)", leaves="as_is", classification="financial"),
    Column(name="service_date", type="date32[day]", leaves="as_is", classification="operational"),
    Column(name="admitted", type="date32[day]", leaves="year", classification="operational"),
    Column(name="birth_date", type="date32[day]", leaves="as_is", classification="identifier"),
    Column(name="note", type="string", leaves="as_is", classification="operational"),
    Column(name="zip", type="string", leaves="zip3", classification="contact"),
)  # fmt: skip
CONTRACT = contract(columns=COLUMNS)


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("claim_id", "C-1", HIDDEN),
        ("claim_type", "other", "other"),
        ("claim_type", "900-12-3456", HIDDEN),
        ("charge_amount", "-12.50", "-12.50"),
        ("charge_amount", "900123456", HIDDEN),
        ("charge_amount", "900-12-3456", HIDDEN),
        ("charge_amount", "Fausto", HIDDEN),
        ("service_date", "2026-02-30", "2026-02-30"),
        ("service_date", "30.02.2026", HIDDEN),
        ("admitted", "2026-02-28", HIDDEN),
        ("birth_date", "1950-01-01", HIDDEN),
        ("note", "12", HIDDEN),
        ("zip", "10001", HIDDEN),
        ("zip", "", EMPTY),
        ("claim_id", None, EMPTY),
    ],
)
def test_shows_only_what_is_about_nobody(column: str, value: str | None, shown: str) -> None:
    assert masked({column: value}, CONTRACT) == {column: shown}


def test_an_undeclared_columns_name_is_masked_too() -> None:
    (name,) = masked({"ssn 900-12-3456": "x"}, CONTRACT)
    assert "900-12-3456" not in name
    assert masked({"extra": "7"}, CONTRACT) == {"extra": HIDDEN}
