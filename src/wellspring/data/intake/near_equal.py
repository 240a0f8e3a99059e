"""Find identifiers of one file that differ only in their spelling: each spelling has a token of its own.

Spellings are compared without case, width, punctuation, leading zeros and a decimal part of zeros (`20000000.0`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.records.verdict import Reason

if TYPE_CHECKING:
    import polars as pl

MAX_VALUES = 2_000_000
"""Maximum number of values of one column that are compared: 16 bytes of memory each."""


class NearEqualFinder:
    """Collects the values of columns batch by batch."""

    def __init__(self) -> None:
        self._hashes: dict[str, list[pl.DataFrame]] = {}
        self._counts: dict[str, int] = {}
        self._not_compared: dict[str, int] = {}

    def add_values(self, column: str, values: pl.Series) -> None:
        """Add the normalized texts of one batch."""
        import polars as pl

        count = self._counts.get(column, 0)
        if count >= MAX_VALUES:
            self._not_compared[column] = self._not_compared.get(column, 0) + len(values) - values.null_count()
            return
        different = values.drop_nulls().unique()
        distinct = different.head(MAX_VALUES - count)
        if left_out := len(different) - len(distinct):
            self._not_compared[column] = left_out
        folded = _fold_spelling(distinct)
        hashes = pl.DataFrame({"folded": folded.hash(seed=1), "text": distinct.hash(seed=2)})
        self._hashes.setdefault(column, []).append(hashes.filter(folded != ""))
        self._counts[column] = count + len(distinct)

    def describe_findings(self) -> tuple[Reason, ...]:
        """Describe each column in which different texts have the same spelling after folding."""
        reasons: list[Reason] = []
        for column, parts in self._hashes.items():
            if count := _count_ambiguous(parts):
                message = "values that differ only in case, punctuation or leading zeros have several tokens"
                reasons.append(Reason(code="near_equal", message=message, column=column, count=count))
            if not_compared := self._not_compared.get(column):
                message = f"the spelling of these values was not compared: the limit is {MAX_VALUES:,} values"
                reasons.append(Reason(code="near_equal_limit", message=message, column=column, count=not_compared))
        return tuple(reasons)


def _count_ambiguous(parts: list[pl.DataFrame]) -> int:
    """Count the folded spellings that stand for several texts."""
    import polars as pl

    texts_by_spelling = pl.concat(parts).unique().group_by("folded").len()
    return texts_by_spelling.filter(pl.col("len") > 1).height


def _fold_spelling(texts: pl.Series) -> pl.Series:
    non_ascii = texts.str.len_bytes() != texts.str.len_chars()
    folded = texts
    if non_ascii.any():
        folded = texts.clone().scatter(non_ascii.arg_true(), texts.filter(non_ascii).str.normalize("NFKC"))
    folded = folded.str.to_lowercase().str.replace(r"^([0-9]+)\.0+$", "$1").str.replace_all(r"[^\p{L}\p{N}]", "")
    return folded.str.strip_chars_start("0")
