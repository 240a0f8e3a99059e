"""Normalize the text of a column before it is validated and tokenized, so that one value has one token.

A contract names the steps of a column in its property `normalization`; the default is `trim` and `nfc`. A text that is
blank afterwards is missing. `none` keeps every text as it was delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

DEFAULT_STEPS = ("trim", "nfc")
STEP_NAMES = ("trim", "nfc", "lower", "upper", "none")
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"
"""Characters without width, which stand beside a value by accident: the mark of a joined file, marks of direction."""
_BLANKS = "".join(map(chr, range(9, 14))) + " \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B)))
_BLANKS += "\u2028\u2029\u202f\u205f\u3000" + _INVISIBLE


def parse_steps(value: object) -> tuple[str, ...] | None:
    """Parse the property `normalization`: names separated by spaces, or a list. Returns None if it is not valid."""
    names = value.split() if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(name in STEP_NAMES for name in names):
        return None
    if len(set(names)) < len(names) or ("none" in names and len(names) > 1) or {"lower", "upper"} <= set(names):
        return None
    return () if names == ["none"] else tuple(step for step in STEP_NAMES if step in names)


def normalize_texts(texts: pl.Series, steps: Sequence[str]) -> pl.Series:
    """Normalize a text column. Without any step the texts stay as they are, blank ones too."""
    if not steps or not len(texts):
        return texts
    functions: dict[str, Callable[[pl.Series], pl.Series]] = {
        "trim": lambda values: values.str.strip_chars(_BLANKS),
        "nfc": _compose,
        "lower": lambda values: values.str.to_lowercase(),
        "upper": lambda values: values.str.to_uppercase(),
    }
    normalized = texts
    for step in steps:
        normalized = functions[step](normalized)
    blank = normalized.str.strip_chars(_BLANKS) == ""
    return normalized.set(blank, None) if blank.any() else normalized


def normalize_text(text: str, steps: Sequence[str]) -> str | None:
    """Normalize one text; None if it is blank."""
    import polars as pl

    return normalize_texts(pl.Series([text], dtype=pl.String), steps)[0]


def _compose(texts: pl.Series) -> pl.Series:
    """Compose characters (NFC); ASCII text has nothing to compose."""
    non_ascii = (texts.str.len_bytes() != texts.str.len_chars()).fill_null(False)
    if not non_ascii.any():
        return texts
    return texts.clone().scatter(non_ascii.arg_true(), texts.filter(non_ascii).str.normalize("NFC"))
