import re

import polars as pl
import pytest

from wellspring.data.contracts.patterns import translate_pattern

FULL_WIDTH, BENGALI = (
    "\N{FULLWIDTH DIGIT ONE}\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19",
    "\u09e7\u09e8\u09e9\u09ea\u09eb\u09ec\u09ed\u09ee\u09ef",
)


@pytest.mark.parametrize(
    ("pattern", "matching", "refused_texts"),
    [
        (r"^\d{9}$", ["123456789"], [FULL_WIDTH, BENGALI, "12345678"]),
        (r"^[\dA-F]+$", ["12AF"], ["\N{FULLWIDTH DIGIT ONE}", "G"]),
        (r"^\w+$", ["a_1"], ["\u00e9", "\uff41", "a-"]),
        (r"^\D+$", ["ab", "\u0967"], ["a1"]),
        (r"^[^\d]$", ["x", "\u09e9"], ["3"]),
        (r"\bcat\b", ["a cat.", "\u00e9cat\u00e9 catx cat"], ["cats"]),
        (r"^[a[]$", ["a", "["], ["]"]),
        (r"^\\d$", ["\\d"], ["1", "\\1"]),
        (r"^[\]\d]+$", ["]1"], ["]\N{FULLWIDTH DIGIT ONE}"]),
        (r"^a\.b$", ["a.b"], ["axb"]),
    ],
)
def test_a_pattern_of_odcs_means_ascii_digits_and_letters(pattern, matching, refused_texts):
    translated = translate_pattern(pattern)
    for text, expected in [*((text, True) for text in matching), *((text, False) for text in refused_texts)]:
        assert pl.Series([text]).str.contains(translated)[0] is expected, (pattern, text)


def test_a_translated_pattern_without_a_word_boundary_is_one_for_the_standard_library_too():
    assert re.fullmatch(translate_pattern(r"\d{2}[\d_]\w"), "12_a")
