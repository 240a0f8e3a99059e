"""Find and mask personal data in text: in received rows, and in text that leaves the platform.

A scanner finds only the structured kinds of its detectors, not names or addresses. Text is normalized first
(`normalization.py`), so that a number in full-width digits is found like one in ASCII digits.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.trust.dlp.detector import Detector, PiiPattern
from wellspring.trust.dlp.normalization import normalize_column, normalize_text

if TYPE_CHECKING:
    import polars as pl


class PiiMatch(NamedTuple):
    """One match: `text[start:end]` of the original text."""

    kind: str
    start: int
    end: int


class ColumnScan(NamedTuple):
    """The result for a column. matches: a Boolean for each row. counts: rows by kind, for kinds with a match."""

    matches: pl.Series
    counts: dict[str, int]


class _CompiledPattern(NamedTuple):
    """A pattern of a detector. regex: for one text, with the group `value`. column_regex: for a column."""

    detector: Detector
    regex: re.Pattern[str]
    column_regex: str


class PiiScanner:
    """Searches texts and columns with some detectors. Of matches with the same place, the first detector's counts."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self._detectors = tuple(detectors)
        self._compiled = [
            (pattern.column_pattern, _CompiledPattern(detector, _compile_pattern(pattern), _column_regex(pattern)))
            for detector in detectors
            for pattern in detector.patterns
        ]

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(detector.kind for detector in self._detectors)

    @property
    def public_kinds(self) -> frozenset[str]:
        """The kinds of numbers that are in public registers."""
        return frozenset(detector.kind for detector in self._detectors if detector.public)

    def find_pii(self, text: str, *, column_name: str = "") -> list[PiiMatch]:
        """Find personal data in a text, in order, without overlaps.

        column_name: the column of the text; a bare date in `birth_date` is a date of birth.
        """
        return self._find_matches(text, self._select_patterns(column_name))

    def mask_text(self, text: str, *, column_name: str = "") -> str:
        """Replace every match of `find_pii` with `[kind]`."""
        return self._mask(text, self._select_patterns(column_name))

    def scan_column(self, column: Any, *, column_name: str = "") -> ColumnScan:
        """Find personal data in a text column (polars Series or Arrow array); each distinct text is scanned once."""
        import polars as pl

        rows = pl.Series(values=column).cast(pl.String)
        matches = pl.repeat(False, len(rows), dtype=pl.Boolean, eager=True)
        counts: dict[str, int] = {}
        patterns = self._select_patterns(column_name)
        if not patterns:
            return ColumnScan(matches, counts)
        distinct = rows.drop_nulls().unique()
        plain = normalize_column(distinct)
        # Search with all patterns at once first: most columns have no match.
        may_match = plain.str.contains(_join_regexes(patterns))
        distinct, plain = distinct.filter(may_match), plain.filter(may_match)
        if distinct.is_empty():
            return ColumnScan(matches, counts)
        for detector in self._detectors:
            own_patterns = [pattern for pattern in patterns if pattern.detector is detector]
            if not own_patterns:
                continue
            kind_matches = _match_detector(plain, detector, own_patterns)
            if kind_matches.any():
                kind_rows = rows.is_in(distinct.filter(kind_matches).implode()).fill_null(False)
                counts[detector.kind] = int(kind_rows.sum())
                matches = matches | kind_rows
        return ColumnScan(matches, counts)

    def mask_column(self, column: Any, *, column_name: str = "") -> tuple[pl.Series, int]:
        """Mask a text column, and return it with the number of masked rows."""
        import polars as pl

        rows = pl.Series(values=column).cast(pl.String)
        matches, counts = self.scan_column(rows, column_name=column_name)
        if not counts:
            return rows, 0
        texts = rows.filter(matches).unique().to_list()
        # The other kinds match no text of this column.
        patterns = self._select_patterns(column_name, kinds=counts)
        masked = [self._mask(text, patterns) for text in texts]
        replaced = rows.filter(matches).replace_strict(texts, masked, return_dtype=pl.String)
        return rows.clone().scatter(matches.arg_true(), replaced), int(matches.sum())

    def _select_patterns(self, column_name: str, *, kinds: Collection[str] | None = None) -> list[_CompiledPattern]:
        folded_name = column_name.casefold()
        return [
            compiled
            for column_pattern, compiled in self._compiled
            if (column_pattern is None or re.search(column_pattern, folded_name))
            and (kinds is None or compiled.detector.kind in kinds)
        ]

    def _find_matches(self, text: str, patterns: Sequence[_CompiledPattern]) -> list[PiiMatch]:
        plain, offsets = normalize_text(text)
        hits: list[PiiMatch] = []
        for pattern in patterns:
            for match in pattern.regex.finditer(plain):
                start, end = match.span("value")
                checksum = pattern.detector.checksum
                if checksum is None or checksum.is_valid(match["value"]):
                    kind = pattern.detector.kind
                    hits.append(PiiMatch(kind, offsets[start] if offsets else start, offsets[end] if offsets else end))
        merged: list[PiiMatch] = []
        for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end, self.kinds.index(hit.kind))):
            if merged and hit.start < merged[-1].end:
                # Overlapping matches are merged, so that masking leaves no part of either.
                merged[-1] = merged[-1]._replace(end=max(hit.end, merged[-1].end))
            else:
                merged.append(hit)
        return merged

    def _mask(self, text: str, patterns: Sequence[_CompiledPattern]) -> str:
        for hit in reversed(self._find_matches(text, patterns)):
            text = f"{text[: hit.start]}[{hit.kind}]{text[hit.end :]}"
        return text


def _compile_pattern(pattern: PiiPattern) -> re.Pattern[str]:
    prefix = f"(?<!{pattern.not_before})" if pattern.not_before else ""
    suffix = f"(?!{pattern.not_after})" if pattern.not_after else ""
    return re.compile(f"(?i){prefix}{pattern.label}(?P<value>{pattern.value}){suffix}")


def _column_regex(pattern: PiiPattern) -> str:
    """Convert a pattern for polars, whose engine has no look-around: it finds whether text matches, not where."""
    prefix = f"(?:^|[^{pattern.not_before[1:-1]}])" if pattern.not_before else ""
    suffix = f"(?:$|[^{pattern.not_after[1:-1]}])" if pattern.not_after else ""
    return f"(?i){prefix}{pattern.label}(?:{pattern.value}){suffix}"


def _join_regexes(patterns: Sequence[_CompiledPattern]) -> str:
    return "|".join(f"(?:{pattern.column_regex})" for pattern in patterns)


def _match_detector(plain: pl.Series, detector: Detector, patterns: Sequence[_CompiledPattern]) -> pl.Series:
    """Mark the texts in which a detector finds a value."""
    import polars as pl

    matches = plain.str.contains(_join_regexes(patterns))
    if detector.checksum is None or not matches.any():
        return matches
    checksum = detector.checksum

    def contains_valid(text: str) -> bool:
        return any(checksum.is_valid(match["value"]) for item in patterns for match in item.regex.finditer(text))

    # Bare numbers are checked as a column; only numbers within a text are checked one by one.
    bare = matches & plain.str.contains("^[0-9]{1,19}$")
    inside_text = matches & ~bare
    checked = pl.Series([contains_valid(text) for text in plain.filter(inside_text).to_list()], dtype=pl.Boolean)
    bare_checked = checksum.check_numbers(plain.filter(bare))
    return matches.clone().scatter(bare.arg_true(), bare_checked).scatter(inside_text.arg_true(), checked)
