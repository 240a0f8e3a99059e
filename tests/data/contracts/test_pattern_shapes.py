"""A pattern of a protected column names kinds of characters, never one letter or one digit."""

import pytest

from wellspring.data.contracts.pattern_shapes import explain_revealing_pattern
from wellspring.data.contracts.patterns import translate_pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "^WSP[0-9]{9}$", r"^CLM\d{13}$", "^DEP[0-9]{2}$", "^[0-9]{3}-[0-9]{2}-[0-9]{4}$", r"^\d{5}(-\d{4})?$",
        "^.{0,20}$",
        "^[A-Z]{3}[0-9]{6}$", r"^\w+$", "^[^@ ]+@[^@ ]+$", "[0-9]", r"^\S+\s?\S*$", "^(?:[A-Z]{2}|[0-9]{4})$", "",
        r"^\(\d{3}\) \d{3}-\d{4}$", "^[A-Za-z' -]+$", r"^[\w.+-]+$", "^[^0-9]*$", "^(AB|C)[0-9]{4,}$", r"^[1-9]\d*$",
        "^[1-9][AC-HJKMNP-Y][0-9AC-HJKMNP-Y][0-9][AC-HJKMNP-Y][0-9AC-HJKMNP-Y][0-9][AC-HJKMNP-Y]{2}[0-9]{2}$",
    ],
)  # fmt: skip
def test_shape_of_a_value_may_be_asked_for(pattern: str):
    assert explain_revealing_pattern(translate_pattern(pattern)) == ""


@pytest.mark.parametrize(
    "pattern",
    [
        "^smith$", "^S", "^S.*$", "^..g.*$", "dog", "(?i)smith", "^[A-F].*$", "^[^s].*$", "^[aeiou]+$", "^.[A-Z]*S$",
        "^ABCDE[0-9]{4}$",
        "^SMITH[0-9]*$", "^Smit[0-9]{0,9}$", "^Smi(th)?[0-9]{2}$", "^S[A-Z]+[0-9]{4}$", "^AB[0-9]{4}", "AB[0-9]{4}$",
        "^AB.*[0-9]{4}$",
        "^(AB|[0-9]{4})$", "^AB([0-9]{4}){0}$", "^[A-Z]*[AC-Z][A-Z]*$", r"^[A-Z]+\s[AC-Z]+[0-9]{1}$",
        "^WSP1[0-9]{8}$", "^[0-8]{9}$", "^[0-9]{8}[1-9]$", "^[5-9][0-9]*$", "^[^7]*$", r"^\d{8}7$", "^(1|2)[0-9]{8}$",
        r"^\p{Lu}+$", r"^\x41+$", "^[a-z&&b]+$", "^[A-Z--S]+$", "^[+--S]+$", "^[a-z~~b]+$", "^[[:alpha:]]+$",
        "^[]A-Z]+$", "^é+$",
        "^[à-é]+$", r"\b", r"^[\d\D]$", r"^[\D]+$", "^a|b$", "^[0-9]{2}?$", "^[A-Z][", "^[A-Z", "^(A[0-9]{3}$",
        "^[0-9]{a}$", r"\$", "^[]$",
        r"^[\x41]$", r"^A\$", "^(?P<a>[0-9])$", "*", "^[^]$",
    ],
)  # fmt: skip
def test_pattern_that_asks_for_a_letter_or_a_digit_is_explained(pattern: str):
    assert explain_revealing_pattern(translate_pattern(pattern))
