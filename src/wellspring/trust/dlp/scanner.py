"""Find and mask personal data in text: in received rows, and in text that leaves the platform.

A scanner finds only the structured kinds of its detectors, not names or addresses. Text is normalized first
(`normalization.py`), so that a number in full-width digits is found like one in ASCII digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.trust.dlp.detector import Detector, PiiPattern
from wellspring.trust.dlp.normalization import normalize_column, normalize_text

if TYPE_CHECKING:
    import polars as pl

_EXCLUDE_LENGTH = 120
"""How much text before a value is searched for `PiiPattern.exclude_before`."""


class PiiMatch(NamedTuple):
    """One match: `text[start:end]` of the original text."""

    kind: str
    start: int
    end: int


class ColumnScan(NamedTuple):
    """The result for a column. matches: a Boolean for each row. counts: rows by kind, for kinds with a match."""

    matches: pl.Series
    counts: dict[str, int]


class MaskedColumn(NamedTuple):
    """A masked column. texts: with `[kind]` for each match. rows: number of masked rows. counts: rows by kind."""

    texts: pl.Series
    rows: int
    counts: dict[str, int]


class _CompiledPattern(NamedTuple):
    """A pattern of a detector. regex: for one text, with the group `value`. column_regex: for a column.

    exclude_before, exclude_after: what a value must not stand beside. excluded_regexes: for a column; a text without a
    match of them contains no excluded value.
    """

    detector: Detector
    regex: re.Pattern[str]
    column_regex: str
    exclude_before: re.Pattern[str] | None
    exclude_after: re.Pattern[str] | None
    excluded_regexes: tuple[str, ...]

    def find_values(self, plain: str) -> Iterator[tuple[int, int]]:
        """Find the values in a normalized text: start and end of each."""
        checksum = self.detector.checksum
        for match in self.regex.finditer(plain):
            start, end = match.span("value")
            if self.exclude_before and self.exclude_before.search(plain, max(0, start - _EXCLUDE_LENGTH), start):
                continue
            if self.exclude_after and self.exclude_after.match(plain, end):
                continue
            if checksum is None or checksum.is_valid(match["value"]):
                yield start, end


class PiiScanner:
    """Searches texts and columns with some detectors. Of matches with the same place, the first detector's counts."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self._detectors = tuple(detectors)
        self._compiled = [
            (pattern, _compile_pattern(detector, pattern)) for detector in detectors for pattern in detector.patterns
        ]

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(detector.kind for detector in self._detectors)

    @property
    def public_kinds(self) -> frozenset[str]:
        """The kinds of numbers that are in public registers."""
        return frozenset(detector.kind for detector in self._detectors if detector.public)

    def find_column_kind(self, column_name: str) -> str:
        """Return the kind of personal data that a column holds by its name, such as `ssn`; '' without one.

        Numbers of public registers do not count.
        """
        name = _fold_column_name(column_name)
        for pattern, compiled in self._compiled:
            kind = compiled.detector.kind
            if kind not in self.public_kinds and pattern.column_pattern and re.search(pattern.column_pattern, name):
                return kind
        return ""

    def find_pii(self, text: str, *, column_name: str = "") -> list[PiiMatch]:
        """Find personal data in a text, in order, without overlaps.

        column_name: the column of the text; a bare date in `birth_date` is a date of birth.
        """
        return self._find_matches(text, self._select_patterns(column_name))

    def mask_text(self, text: str, *, column_name: str = "") -> str:
        """Replace every match of `find_pii` with `[kind]`."""
        return self._mask(text, self._select_patterns(column_name))

    def scan_column(self, column: Any, *, column_name: str = "") -> ColumnScan:
        """Find personal data in a column (polars Series or Arrow array); each distinct text is scanned once.

        A column of numbers is searched as text, with the patterns only that its name selects: bare numbers of a column
        that is not named for them are quantities.
        """
        import polars as pl

        values = pl.Series(values=column)
        matches = pl.repeat(False, len(values), dtype=pl.Boolean, eager=True)
        counts: dict[str, int] = {}
        patterns = self._select_patterns(column_name, values)
        if not patterns:
            return ColumnScan(matches, counts)
        rows = values.cast(pl.String)
        for kind, texts in self._find_texts(rows, patterns).items():
            kind_rows = rows.is_in(texts.implode()).fill_null(False)
            counts[kind] = int(kind_rows.sum())
            matches = matches | kind_rows
        return ColumnScan(matches, counts)

    def mask_column(self, column: Any, *, column_name: str = "") -> MaskedColumn:
        """Mask a text column."""
        import polars as pl

        values = pl.Series(values=column)
        rows = values.cast(pl.String)
        patterns = self._select_patterns(column_name, values)
        # A text is searched again for the kinds that it contains only.
        kinds_by_text: dict[str, tuple[str, ...]] = {}
        counts: dict[str, int] = {}
        for kind, texts in self._find_texts(rows, patterns).items():
            counts[kind] = int(rows.is_in(texts.implode()).fill_null(False).sum())
            for text in texts.to_list():
                kinds_by_text[text] = (*kinds_by_text.get(text, ()), kind)
        if not kinds_by_text:
            return MaskedColumn(rows, 0, {})
        patterns_by_kinds = {
            kinds: [pattern for pattern in patterns if pattern.detector.kind in kinds]
            for kinds in set(kinds_by_text.values())
        }
        masked = [self._mask(text, patterns_by_kinds[kinds]) for text, kinds in kinds_by_text.items()]
        masked_texts = pl.Series(list(kinds_by_text), dtype=pl.String)
        matches = rows.is_in(masked_texts.implode()).fill_null(False)
        replaced = rows.filter(matches).replace_strict(masked_texts, masked, return_dtype=pl.String)
        return MaskedColumn(rows.clone().scatter(matches.arg_true(), replaced), int(matches.sum()), counts)

    def _find_texts(self, rows: pl.Series, patterns: Sequence[_CompiledPattern]) -> dict[str, pl.Series]:
        """Find the distinct texts of a column that contain personal data, by kind."""
        texts_by_kind: dict[str, pl.Series] = {}
        if not patterns:
            return texts_by_kind
        distinct = rows.drop_nulls().unique()
        plain = normalize_column(distinct)
        # Search with all patterns at once first: most columns have no match.
        may_match = plain.str.contains(_join_regexes(pattern.column_regex for pattern in patterns))
        distinct, plain = distinct.filter(may_match), plain.filter(may_match)
        if distinct.is_empty():
            return texts_by_kind
        for detector in self._detectors:
            own_patterns = [pattern for pattern in patterns if pattern.detector is detector]
            if own_patterns:
                texts = distinct.filter(_match_detector(plain, detector, own_patterns))
                if not texts.is_empty():
                    texts_by_kind[detector.kind] = texts
        return texts_by_kind

    def _select_patterns(self, column_name: str, values: pl.Series | None = None) -> list[_CompiledPattern]:
        """Select the patterns for a text, or for the values of a column. Numbers: those that the name selects only."""
        folded_name = _fold_column_name(column_name)
        is_text = values is None or not values.dtype.is_numeric()
        return [
            compiled
            for pattern, compiled in self._compiled
            if (is_text if pattern.column_pattern is None else re.search(pattern.column_pattern, folded_name))
            and not (pattern.exclude_column and re.search(pattern.exclude_column, folded_name))
        ]

    def _find_matches(self, text: str, patterns: Sequence[_CompiledPattern]) -> list[PiiMatch]:
        plain, offsets = normalize_text(text)
        hits: list[PiiMatch] = []
        for pattern in patterns:
            kind = pattern.detector.kind
            for start, end in pattern.find_values(plain):
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


def _fold_column_name(name: str) -> str:
    return re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", normalize_text(name)[0]).casefold()


def _compile_pattern(detector: Detector, pattern: PiiPattern) -> _CompiledPattern:
    prefix = f"(?<!{pattern.not_before})" if pattern.not_before else ""
    suffix = f"(?!{pattern.not_after})" if pattern.not_after else ""
    before, after = pattern.exclude_before, pattern.exclude_after
    excluded = [
        *([f"(?i)(?:{before})(?:{pattern.value})"] if before else []),
        *([f"(?i)(?:{pattern.value})(?:{after})"] if after else []),
    ]
    return _CompiledPattern(
        detector,
        re.compile(f"(?i){prefix}{pattern.label}(?P<value>{pattern.value}){pattern.label_after}{suffix}"),
        _column_regex(pattern),
        re.compile(f"(?i)(?:{before})\\Z") if before else None,
        re.compile(f"(?i)(?:{after})") if after else None,
        tuple(excluded),
    )


def _column_regex(pattern: PiiPattern) -> str:
    """Convert a pattern for polars, whose engine has no look-around: it finds whether text matches, not where."""
    prefix = f"(?:^|[^{pattern.not_before[1:-1]}])" if pattern.not_before else ""
    suffix = f"(?:$|[^{pattern.not_after[1:-1]}])" if pattern.not_after else ""
    return f"(?i){prefix}{pattern.label}(?:{pattern.value}){pattern.label_after}{suffix}"


def _join_regexes(regexes: Iterable[str]) -> str:
    return "|".join(f"(?:{regex})" for regex in regexes)


def _match_detector(plain: pl.Series, detector: Detector, patterns: Sequence[_CompiledPattern]) -> pl.Series:
    """Mark the texts in which a detector finds a value."""
    import polars as pl

    matches = plain.str.contains(_join_regexes(pattern.column_regex for pattern in patterns))
    excluded = [regex for pattern in patterns for regex in pattern.excluded_regexes]
    checksum = detector.checksum
    if (checksum is None and not excluded) or not matches.any():
        return matches
    # A bare number, which stands beside nothing, is checked as a column. Of the other texts, those are searched one by
    # one whose number has a checksum, or stands beside an excluding text.
    bare = matches & plain.str.contains("^[0-9]{1,19}$")
    if checksum is None:
        beside = matches & ~bare
        searched = beside.clone().scatter(beside.arg_true(), plain.filter(beside).str.contains(_join_regexes(excluded)))
    else:
        searched = matches & ~bare
        matches = matches.clone().scatter(bare.arg_true(), checksum.check_numbers(plain.filter(bare)))
    contains_value = [
        any(next(pattern.find_values(text), None) for pattern in patterns) for text in plain.filter(searched).to_list()
    ]
    return matches.clone().scatter(searched.arg_true(), pl.Series(contains_value, dtype=pl.Boolean))
