"""Normalize text before the search: width, dashes, spaces and digits of all scripts; invisible characters vanish."""

from __future__ import annotations

import functools
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

# Characters that are equivalent to a dash or a digit after compatibility decomposition, and invisible characters.
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\ufeff"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u02d7\u2796"


@functools.cache
def _normalization_table() -> dict[str, str]:
    digits = {
        chr(point): str(unicodedata.decimal(chr(point)))
        for point in range(0x80, 0x1FC00)
        if unicodedata.decimal(chr(point), -1) != -1
    }
    return {**digits, **dict.fromkeys(_DASHES, "-"), **dict.fromkeys(_INVISIBLE, "")}


def normalize_text(text: str) -> tuple[str, list[int] | None]:
    """Normalize a text; return also the original offset of each character (None: unchanged)."""
    if text.isascii():
        return text, None
    table = _normalization_table()
    characters: list[str] = []
    offsets: list[int] = []
    for offset, character in enumerate(text):
        for decomposed in unicodedata.normalize("NFKD", character):
            if normalized := table.get(decomposed, decomposed):
                characters.append(normalized)
                offsets.append(offset)
    return "".join(characters), [*offsets, len(text)]


def normalize_column(column: pl.Series) -> pl.Series:
    """Normalize the texts of a column, as `normalize_text` does."""
    non_ascii = column.str.len_bytes() != column.str.len_chars()
    if not non_ascii.any():
        return column
    table = _normalization_table()
    normalized = column.filter(non_ascii).str.normalize("NFKD").str.replace_many(list(table), list(table.values()))
    return column.clone().scatter(non_ascii.arg_true(), normalized)
