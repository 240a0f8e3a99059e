"""Find and mask personal data in text: in received rows, and in text that leaves the platform.

It finds only the structured kinds below, not names or addresses. Text is normalized first (width, dashes, spaces,
invisible characters), so that a number in full-width digits is found like one in ASCII digits.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import polars as pl

PII_KINDS = ("ssn", "mbi", "npi", "phone", "email", "birth_date", "personal_id")
PERSONAL_ID_PATTERN = r"(?:M|WSP)[0-9]{9}"
"""The default pattern of the kind `personal_id`."""
BIRTH_DATE_COLUMN = r"birth|dob"
"""A column whose name matches this pattern contains dates of birth."""


class PiiMatch(NamedTuple):
    """One match: `text[start:end]` of the original text."""

    kind: str
    start: int
    end: int


class ColumnScan(NamedTuple):
    """The result for a column. matches: a Boolean for each row. counts: rows by kind, for kinds with a match."""

    matches: pl.Series
    counts: dict[str, int]


class _PiiPattern(NamedTuple):
    """A pattern of a kind.

    label: text that must precede the value. not_before, not_after: characters that must not be next to it.
    column_pattern: the pattern applies only to columns whose name matches.
    """

    kind: str
    value: str
    label: str = ""
    not_before: str = "[0-9]"
    not_after: str = "[0-9]"
    column_pattern: str | None = None


_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_DATE = (
    r"(?:[0-9]{4} ?[-/.] ?[0-9]{1,2} ?[-/.] ?[0-9]{1,2}"
    r"|[0-9]{1,2} ?[-/.] ?[0-9]{1,2} ?[-/.] ?(?:[0-9]{4}|[0-9]{2})"
    r"|(?:19|20)[0-9]{6}"
    rf"|{_MONTH} [0-9]{{1,2}},? [0-9]{{4}}|[0-9]{{1,2}}[- ]{_MONTH},?[- ][0-9]{{4}})"
)
_GAP = r"[^0-9a-z]{0,6}"
# MBI: CMS excludes S, L, O, I, B, Z; position two also allows S here, which only synthetic numbers have.
_L, _N = "[AC-HJKMNP-RT-Y]", "[0-9AC-HJKMNP-RT-Y]"
_EMAIL_ATOM = r"[^ \t\r\n@<>(),;:\"'/.]"
_SSN_LABEL = r"(?:ssn|ss ?(?:#|no)|soc(?:ial)?\.? ?sec(?:urity)?)(?: (?:number|num|no))?\.?(?: is)?" + _GAP
_PHONE_LABEL = r"(?:phone|tel|telephone|cell|mobile|call|fax)(?: (?:at|on|no|number))?" + _GAP
_BIRTH_LABEL = r"(?:d\.?o\.?b\.?|date of birth|birth[ _-]?date|birthday|born(?: on)?)" + _GAP
_ALPHANUMERIC = "[0-9a-z]"
_PHONE = r"(?:\+?1[-. ]{0,2})?(?:\([0-9]{3}\)[-. ]{0,2}|[0-9]{3}[-./ ]{1,2})[0-9]{3}[-. ]{1,2}[0-9]{4}"
_PHONE_DIGITS = r"(?:\+?1)?(?:[0-9]{10}|[0-9]{3}[-. ]?[0-9]{4})"
_MBI = rf"[1-9][AC-HJKMNP-Y]{_N}[0-9][- ]?{_L}{_N}[0-9][- ]?{_L}{_L}[0-9]{{2}}"
_PATTERNS = (
    _PiiPattern("ssn", r"[0-9]{3} ?[-. /] ?[0-9]{2} ?[-. /] ?[0-9]{4}"),
    _PiiPattern("ssn", r"[0-9]{9}", label=_SSN_LABEL, not_before="[a-z]"),
    _PiiPattern("ssn", r"[0-9]{9}", column_pattern=r"ssn|social"),
    _PiiPattern("mbi", _MBI, not_before=_ALPHANUMERIC, not_after=_ALPHANUMERIC),
    _PiiPattern("npi", r"[12][0-9]{9}"),
    _PiiPattern("npi", r"[12](?:[- ]?[0-9]){9}", label=rf"npi{_GAP}", not_before="[a-z]"),
    _PiiPattern("phone", _PHONE),
    _PiiPattern("phone", _PHONE_DIGITS, label=_PHONE_LABEL, not_before="[a-z]"),
    _PiiPattern("phone", _PHONE_DIGITS, column_pattern=r"phone|mobile|(?:^|_)(?:tel|cell|fax)"),
    _PiiPattern(
        "email",
        rf"(?:{_EMAIL_ATOM}|\.){{1,64}}@(?:{_EMAIL_ATOM}{{1,63}}\.){{1,8}}[a-z]{{2,24}}",
        not_before="",
        not_after="",
    ),
    _PiiPattern("birth_date", _DATE, label=_BIRTH_LABEL, not_before="[a-z]"),
    _PiiPattern("birth_date", _DATE, column_pattern=BIRTH_DATE_COLUMN),
)


def find_pii(text: str, *, column_name: str = "", personal_id_pattern: str = PERSONAL_ID_PATTERN) -> list[PiiMatch]:
    """Find personal data in a text, in order, without overlaps.

    column_name: the column of the text; a bare date in `birth_date` is a date of birth.
    """
    plain, offsets = _normalize_text(text)
    hits: list[PiiMatch] = []
    for pattern, compiled in _compile_patterns(column_name, personal_id_pattern):
        for match in compiled.finditer(plain):
            start, end = match.span("value")
            if pattern.kind != "npi" or _is_npi(match["value"]):
                hits.append(
                    PiiMatch(pattern.kind, offsets[start] if offsets else start, offsets[end] if offsets else end)
                )
    merged: list[PiiMatch] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end, PII_KINDS.index(hit.kind))):
        if merged and hit.start < merged[-1].end:
            # Overlapping matches are merged, so that masking leaves no part of either.
            merged[-1] = merged[-1]._replace(end=max(hit.end, merged[-1].end))
        else:
            merged.append(hit)
    return merged


def mask_text(text: str, *, column_name: str = "", personal_id_pattern: str = PERSONAL_ID_PATTERN) -> str:
    """Replace every match of `find_pii` with `[kind]`."""
    for hit in reversed(find_pii(text, column_name=column_name, personal_id_pattern=personal_id_pattern)):
        text = f"{text[: hit.start]}[{hit.kind}]{text[hit.end :]}"
    return text


def scan_column(column: Any, *, column_name: str = "", personal_id_pattern: str = PERSONAL_ID_PATTERN) -> ColumnScan:
    """Find personal data in a text column (polars Series or Arrow array); each distinct text is scanned once."""
    import polars as pl

    rows = pl.Series(values=column).cast(pl.String)
    distinct = rows.drop_nulls().unique()
    plain = _normalize_column(distinct)
    patterns = [(pattern, _polars_regex(pattern)) for pattern in _select_patterns(column_name, personal_id_pattern)]
    # Scan with all patterns at once first: most columns have no match.
    may_match = plain.str.contains("|".join(f"(?:{rust})" for _, rust in patterns))
    distinct, plain = distinct.filter(may_match), plain.filter(may_match)
    matches = pl.repeat(False, len(rows), dtype=pl.Boolean, eager=True)
    if distinct.is_empty():
        return ColumnScan(matches, {})
    counts: dict[str, int] = {}
    for kind in PII_KINDS:
        kind_matches = pl.repeat(False, len(plain), dtype=pl.Boolean, eager=True)
        for pattern, rust in patterns:
            if pattern.kind == kind:
                kind_matches = kind_matches | plain.str.contains(rust)
        if kind == "npi" and kind_matches.any():
            kind_matches = _filter_by_check_digit(plain, kind_matches, column_name, personal_id_pattern)
        if kind_matches.any():
            kind_rows = rows.is_in(distinct.filter(kind_matches).implode()).fill_null(False)
            counts[kind] = int(kind_rows.sum())
            matches = matches | kind_rows
    return ColumnScan(matches, counts)


def mask_column(
    column: Any, *, column_name: str = "", personal_id_pattern: str = PERSONAL_ID_PATTERN
) -> tuple[pl.Series, int]:
    """Mask a text column, and return it with the number of masked rows."""
    import polars as pl

    rows = pl.Series(values=column).cast(pl.String)
    matches = scan_column(rows, column_name=column_name, personal_id_pattern=personal_id_pattern).matches
    if not matches.any():
        return rows, 0
    texts = rows.filter(matches).unique().to_list()
    cleaned = [mask_text(text, column_name=column_name, personal_id_pattern=personal_id_pattern) for text in texts]
    replaced = rows.filter(matches).replace_strict(texts, cleaned, return_dtype=pl.String)
    return rows.clone().scatter(matches.arg_true(), replaced), int(matches.sum())


def _select_patterns(column_name: str, personal_id_pattern: str) -> list[_PiiPattern]:
    personal_id = _PiiPattern("personal_id", f"(?:{personal_id_pattern})", not_before="[0-9a-z]", not_after="[0-9a-z]")
    folded_name = column_name.casefold()
    return [
        pattern
        for pattern in (*_PATTERNS, personal_id)
        if pattern.column_pattern is None or re.search(pattern.column_pattern, folded_name)
    ]


@functools.cache
def _compile_patterns(column_name: str, personal_id_pattern: str) -> tuple[tuple[_PiiPattern, re.Pattern[str]], ...]:
    def compile_pattern(pattern: _PiiPattern) -> re.Pattern[str]:
        prefix = f"(?<!{pattern.not_before})" if pattern.not_before else ""
        suffix = f"(?!{pattern.not_after})" if pattern.not_after else ""
        return re.compile(f"(?i){prefix}{pattern.label}(?P<value>{pattern.value}){suffix}")

    return tuple((pattern, compile_pattern(pattern)) for pattern in _select_patterns(column_name, personal_id_pattern))


def _polars_regex(pattern: _PiiPattern) -> str:
    """Convert a pattern for polars, whose engine has no look-around: it finds whether text matches, not where."""
    prefix = f"(?:^|[^{pattern.not_before[1:-1]}])" if pattern.not_before else ""
    suffix = f"(?:$|[^{pattern.not_after[1:-1]}])" if pattern.not_after else ""
    return f"(?i){prefix}{pattern.label}(?:{pattern.value}){suffix}"


def _filter_by_check_digit(
    plain: pl.Series, matches: pl.Series, column_name: str, personal_id_pattern: str
) -> pl.Series:
    import polars as pl

    npi_regexes = [
        compiled for pattern, compiled in _compile_patterns(column_name, personal_id_pattern) if pattern.kind == "npi"
    ]

    def contains_npi(text: str) -> bool:
        return any(_is_npi(match["value"]) for compiled in npi_regexes for match in compiled.finditer(text))

    # Bare ten-digit numbers are checked as a column; only numbers within a text are checked individually.
    bare = matches & plain.str.contains("^[0-9]{10}$")
    number = plain.filter(bare).cast(pl.Int64)
    total = pl.repeat(24, len(number), dtype=pl.Int64, eager=True)
    for position in range(10):
        digit = number // 10**position % 10
        total = total + (digit if position % 2 == 0 else digit * 2 - 9 * (digit > 4).cast(pl.Int64))
    inside_text = matches & ~bare
    checked = pl.Series([contains_npi(text) for text in plain.filter(inside_text).to_list()], dtype=pl.Boolean)
    return matches.clone().scatter(bare.arg_true(), total % 10 == 0).scatter(inside_text.arg_true(), checked)


def _is_npi(text: str) -> bool:
    """Check the Luhn digit of 80840 and the number. Source: CMS, NPI check digit, 45 CFR 162.406."""
    digits = [int(character) for character in text if character.isdigit()]
    # The prefix 80840 adds 24 to the sum.
    total = 24 + sum(digits[-1::-2])
    return (total + sum(digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2])) % 10 == 0


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


def _normalize_text(text: str) -> tuple[str, list[int] | None]:
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


def _normalize_column(column: pl.Series) -> pl.Series:
    non_ascii = column.str.len_bytes() != column.str.len_chars()
    if not non_ascii.any():
        return column
    table = _normalization_table()
    # Decompose first, as `_normalize_text` does.
    normalized = column.filter(non_ascii).str.normalize("NFKD").str.replace_many(list(table), list(table.values()))
    return column.clone().scatter(non_ascii.arg_true(), normalized)
