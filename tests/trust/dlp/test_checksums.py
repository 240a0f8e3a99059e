"""Check digits: known numbers, changed digits, and the column check beside the check of one text."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellspring.trust.dlp.checksums import CHECKSUMS, Checksum, IbanChecksum, LuhnChecksum

NPI = LuhnChecksum("80840", prefix_length=10)
NUMBERS = st.lists(st.from_regex("[0-9]{1,19}", fullmatch=True))


@pytest.mark.parametrize("value", ["4111 1111 1111 1111", "378282246310005", "5555-5555-5555-4444"])
def test_known_card_numbers_are_valid_and_no_digit_of_them_may_change(value: str):
    luhn = CHECKSUMS["luhn"]
    assert luhn.is_valid(value)
    for place, character in enumerate(value):
        if character.isdigit():
            changed = f"{value[:place]}{(int(character) + 1) % 10}{value[place + 1 :]}"
            assert not luhn.is_valid(changed)


def test_known_npis():
    assert [last for last in range(10) if NPI.is_valid(f"123456789{last}")] == [3]


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ("DE89 3704 0044 0532 0130 00", True),
        ("GB82WEST12345698765432", True),
        ("DE89 3704 0044 0532 0130 00 2", True),
        ("DE89 3704 0044 0532 0130 01", False),
        ("DE89 3704 0044 0532", False),
        ("XX89 3704 0044 0532 0130 00", False),
    ],
)
def test_known_ibans(value: str, valid: bool):
    assert IbanChecksum().is_valid(value) == valid
    assert not IbanChecksum().check_numbers(pl.Series(["12"]))[0]


def test_mod97_of_a_known_number():
    assert CHECKSUMS["mod97"].is_valid("98")
    assert not CHECKSUMS["mod97"].is_valid("99")
    assert not CHECKSUMS["mod97"].is_valid("")


@given(
    st.sampled_from([CHECKSUMS["luhn"], CHECKSUMS["mod97"], NPI]),
    st.lists(st.from_regex("[0-9]{1,19}", fullmatch=True)),
)
def test_the_column_check_is_the_check_of_each_text(checksum: Checksum, numbers: list[str]):
    column = pl.Series(numbers, dtype=pl.String)
    assert checksum.check_numbers(column).to_list() == [checksum.is_valid(number) for number in numbers]
