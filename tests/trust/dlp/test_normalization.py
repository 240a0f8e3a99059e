"""Text in other scripts, widths and dashes is normalized, and each character keeps its place."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from wellspring.trust.dlp.normalization import normalize_column, normalize_text


def test_digits_dashes_and_invisible_characters():
    assert normalize_text("\uff19\u0660\u200b-\u2013x") == ("90--x", [0, 1, 3, 4, 5, 6])
    assert normalize_text("plain") == ("plain", None)


# Polars may know a newer version of Unicode: characters that Python does not know yet have no meaning to compare.
KNOWN_CHARACTERS = st.characters(exclude_categories=("Cn", "Cs"))


@given(st.lists(st.text(KNOWN_CHARACTERS, max_size=6), max_size=8))
def test_a_column_is_normalized_like_each_of_its_texts(texts: list[str]):
    column = normalize_column(pl.Series(texts, dtype=pl.String))
    assert column.to_list() == [normalize_text(text)[0] for text in texts]
