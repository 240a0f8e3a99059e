"""Social Security and taxpayer numbers: the ranges that were issued, and what finds a number outside of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.pii import SCANNER

DIGITS = st.integers(0, 999_999_999).map(lambda number: f"{number:09}")


def is_issued(digits: str) -> bool:
    """Decide by the rules of the SSA, written apart from the pattern."""
    area, group, serial = int(digits[:3]), int(digits[3:5]), int(digits[5:])
    return area not in (0, 666) and area < 900 and group != 0 and serial != 0


def is_itin(digits: str) -> bool:
    """Decide by the ranges that the IRS lists."""
    group = int(digits[3:5])
    return digits[0] == "9" and (50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99)


def separate(digits: str, separator: str) -> str:
    return separator.join((digits[:3], digits[3:5], digits[5:]))


@given(DIGITS, st.sampled_from("- ._/"))
def test_a_number_without_a_label_is_found_in_issued_ranges_only(digits: str, separator: str):
    expected = "ssn" if is_issued(digits) else "itin" if is_itin(digits) else None
    text = f"seen {separate(digits, separator)}, again"
    assert [hit.kind for hit in SCANNER.find_pii(text)] == ([expected] if expected else [])
    assert SCANNER.scan_column([text]).counts == ({expected: 1} if expected else {})


@given(DIGITS, st.sampled_from(["", "-", " ", ".", "_", "/"]))
def test_a_label_and_a_column_name_find_a_number_of_any_range(digits: str, separator: str):
    number = separate(digits, separator)
    assert [hit.kind for hit in SCANNER.find_pii(f"SSN: {number}")] == ["ssn"]
    assert SCANNER.scan_column([number], column_name="memberSSN").counts["ssn"] == 1


@pytest.mark.parametrize(
    "name", ["ssn", "SSN", "member_ssn", "Social Security Number", "soc_sec_no", "social", "ssn_2"]
)
def test_a_column_of_integers_is_searched_if_its_name_says_ssn(name: str):
    # 8 and 7 digits: a column of integers has lost the leading zeros.
    numbers = [900123456, 12345678, 1234567, 123456, None]
    assert SCANNER.scan_column(numbers, column_name=name).matches.to_list() == [True, True, True, False, False]
    masked, count, _ = SCANNER.mask_column(numbers, column_name=name)
    assert (masked.to_list(), count) == (["[ssn]", "[ssn]", "[ssn]", "123456", None], 3)


@pytest.mark.parametrize(
    "name", ["business_name", "businessname", "process_number", "social_media_followers", "amount"]
)
def test_a_column_of_integers_with_another_name_is_not(name: str):
    # 1234567893 is a valid NPI, 4111111111111111 a valid card: bare numbers of a column with another name are amounts.
    assert SCANNER.scan_column([900123456, 1234567893, 4111111111111111], column_name=name).counts == {}
