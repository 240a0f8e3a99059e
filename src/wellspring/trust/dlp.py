"""Finds personal data in any text: at the door, and in whatever leaves the house.

It knows the structured kinds below and nothing else: it finds no names and no addresses. Width, dashes, spaces and
invisible characters are evened out before it looks, so a number in wide digits is found like one in plain digits.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import polars as pl

KINDS = ("ssn", "mbi", "npi", "phone", "email", "birth_date", "member_id")
ROLL = r"(?:M|WSP)[0-9]{9}"
"""How the member ids of the roll look, unless the caller says otherwise."""
BIRTH = r"birth|dob"
"""A column whose name has this in it holds dates of birth."""


class Hit(NamedTuple):
    """One thing found: `text[start:end]` of the text as it was given."""

    kind: str
    start: int
    end: int


class Scan(NamedTuple):
    """What a column holds. hit: a Boolean for each row. counts: rows by kind, kinds that were found only."""

    hit: pl.Series
    counts: dict[str, int]


class _Pattern(NamedTuple):
    """label: what must stand before the value. left, right: characters that may not stand beside it.
    within: the pattern counts only in a column whose name matches."""

    kind: str
    value: str
    label: str = ""
    left: str = "[0-9]"
    right: str = "[0-9]"
    within: str | None = None


_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_DATE = (
    r"(?:[0-9]{4} ?[-/.] ?[0-9]{1,2} ?[-/.] ?[0-9]{1,2}"
    r"|[0-9]{1,2} ?[-/.] ?[0-9]{1,2} ?[-/.] ?(?:[0-9]{4}|[0-9]{2})"
    r"|(?:19|20)[0-9]{6}"
    rf"|{_MONTH} [0-9]{{1,2}},? [0-9]{{4}}|[0-9]{{1,2}}[- ]{_MONTH},?[- ][0-9]{{4}})"
)
_GAP = r"[^0-9a-z]{0,6}"
# MBI: CMS leaves out S, L, O, I, B, Z; place two also takes S here, as only made-up ones have it.
_L, _N = "[AC-HJKMNP-RT-Y]", "[0-9AC-HJKMNP-RT-Y]"
_MAIL = r"[^ \t\r\n@<>(),;:\"'/.]"
_SSN = r"(?:ssn|ss ?(?:#|no)|soc(?:ial)?\.? ?sec(?:urity)?)(?: (?:number|num|no))?\.?(?: is)?" + _GAP
_CALL = r"(?:phone|tel|telephone|cell|mobile|call|fax)(?: (?:at|on|no|number))?" + _GAP
_BORN = r"(?:d\.?o\.?b\.?|date of birth|birth[ _-]?date|birthday|born(?: on)?)" + _GAP
_WORD = "[0-9a-z]"
_PHONE = r"(?:\+?1[-. ]{0,2})?(?:\([0-9]{3}\)[-. ]{0,2}|[0-9]{3}[-./ ]{1,2})[0-9]{3}[-. ]{1,2}[0-9]{4}"
_NUMBER = r"(?:\+?1)?(?:[0-9]{10}|[0-9]{3}[-. ]?[0-9]{4})"
_MBI = rf"[1-9][AC-HJKMNP-Y]{_N}[0-9][- ]?{_L}{_N}[0-9][- ]?{_L}{_L}[0-9]{{2}}"
_PATTERNS = (
    _Pattern("ssn", r"[0-9]{3} ?[-. /] ?[0-9]{2} ?[-. /] ?[0-9]{4}"),
    _Pattern("ssn", r"[0-9]{9}", label=_SSN, left="[a-z]"),
    _Pattern("ssn", r"[0-9]{9}", within=r"ssn|social"),
    _Pattern("mbi", _MBI, left=_WORD, right=_WORD),
    _Pattern("npi", r"[12][0-9]{9}"),
    _Pattern("npi", r"[12](?:[- ]?[0-9]){9}", label=rf"npi{_GAP}", left="[a-z]"),
    _Pattern("phone", _PHONE),
    _Pattern("phone", _NUMBER, label=_CALL, left="[a-z]"),
    _Pattern("phone", _NUMBER, within=r"phone|mobile|(?:^|_)(?:tel|cell|fax)"),
    _Pattern("email", rf"(?:{_MAIL}|\.){{1,64}}@(?:{_MAIL}{{1,63}}\.){{1,8}}[a-z]{{2,24}}", left="", right=""),
    _Pattern("birth_date", _DATE, label=_BORN, left="[a-z]"),
    _Pattern("birth_date", _DATE, within=BIRTH),
)


def find(text: str, *, context: str = "", roll_pattern: str = ROLL) -> list[Hit]:
    """Find personal data in one text, in order, without overlaps.

    context: the name of the column the text stands in; a bare date in `birth_date` is a date of birth.
    """
    plain, places = _plain(text)
    hits: list[Hit] = []
    for pattern, compiled in _compiled(context, roll_pattern):
        for match in compiled.finditer(plain):
            start, end = match.span("value")
            if pattern.kind != "npi" or _is_npi(match["value"]):
                hits.append(Hit(pattern.kind, places[start] if places else start, places[end] if places else end))
    apart: list[Hit] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end, KINDS.index(hit.kind))):
        if apart and hit.start < apart[-1].end:
            # Two kinds that overlap are one find as wide as both, so that masking leaves no rest of either.
            apart[-1] = apart[-1]._replace(end=max(hit.end, apart[-1].end))
        else:
            apart.append(hit)
    return apart


def mask(text: str, *, context: str = "", roll_pattern: str = ROLL) -> str:
    """Put `[kind]` in the place of everything that `find` finds."""
    for hit in reversed(find(text, context=context, roll_pattern=roll_pattern)):
        text = f"{text[: hit.start]}[{hit.kind}]{text[hit.end :]}"
    return text


def scan(column: Any, *, context: str = "", roll_pattern: str = ROLL) -> Scan:
    """Find personal data in a whole column (polars Series or Arrow array of text), each distinct text once."""
    import polars as pl

    rows = pl.Series(values=column).cast(pl.String)
    distinct = rows.drop_nulls().unique()
    plain = _plain_column(distinct)
    patterns = [(pattern, _vectorised(pattern)) for pattern in _chosen(context, roll_pattern)]
    # One pass of all patterns at once finds most columns empty.
    likely = plain.str.contains("|".join(f"(?:{rust})" for _, rust in patterns))
    distinct, plain = distinct.filter(likely), plain.filter(likely)
    hit = pl.repeat(False, len(rows), dtype=pl.Boolean, eager=True)
    if distinct.is_empty():
        return Scan(hit, {})
    counts: dict[str, int] = {}
    for kind in KINDS:
        found = pl.repeat(False, len(plain), dtype=pl.Boolean, eager=True)
        for pattern, rust in patterns:
            if pattern.kind == kind:
                found = found | plain.str.contains(rust)
        if kind == "npi" and found.any():
            found = _with_check_digit(plain, found, context, roll_pattern)
        if found.any():
            of_kind = rows.is_in(distinct.filter(found).implode()).fill_null(False)
            counts[kind] = int(of_kind.sum())
            hit = hit | of_kind
    return Scan(hit, counts)


def masked(column: Any, *, context: str = "", roll_pattern: str = ROLL) -> tuple[pl.Series, int]:
    """Mask a whole column of text; say in how many rows something was masked."""
    import polars as pl

    rows = pl.Series(values=column).cast(pl.String)
    hit = scan(rows, context=context, roll_pattern=roll_pattern).hit
    if not hit.any():
        return rows, 0
    texts = rows.filter(hit).unique().to_list()
    cleaned = [mask(text, context=context, roll_pattern=roll_pattern) for text in texts]
    replaced = rows.filter(hit).replace_strict(texts, cleaned, return_dtype=pl.String)
    return rows.clone().scatter(hit.arg_true(), replaced), int(hit.sum())


def _chosen(context: str, roll_pattern: str) -> list[_Pattern]:
    roll = _Pattern("member_id", f"(?:{roll_pattern})", left="[0-9a-z]", right="[0-9a-z]")
    name = context.casefold()
    return [each for each in (*_PATTERNS, roll) if each.within is None or re.search(each.within, name)]


@functools.cache
def _compiled(context: str, roll_pattern: str) -> tuple[tuple[_Pattern, re.Pattern[str]], ...]:
    def build(each: _Pattern) -> re.Pattern[str]:
        left = f"(?<!{each.left})" if each.left else ""
        right = f"(?!{each.right})" if each.right else ""
        return re.compile(f"(?i){left}{each.label}(?P<value>{each.value}){right}")

    return tuple((each, build(each)) for each in _chosen(context, roll_pattern))


def _vectorised(each: _Pattern) -> str:
    """Write a pattern for polars, whose engine looks neither ahead nor behind; it tells whether, not where."""
    left = f"(?:^|[^{each.left[1:-1]}])" if each.left else ""
    right = f"(?:$|[^{each.right[1:-1]}])" if each.right else ""
    return f"(?i){left}{each.label}(?:{each.value}){right}"


def _with_check_digit(plain: pl.Series, found: pl.Series, context: str, roll_pattern: str) -> pl.Series:
    import polars as pl

    ours = [compiled for pattern, compiled in _compiled(context, roll_pattern) if pattern.kind == "npi"]

    def holds(text: str) -> bool:
        return any(_is_npi(match["value"]) for compiled in ours for match in compiled.finditer(text))

    # A column of bare ten-digit numbers is summed as a column; only numbers within a text are looked at one by one.
    bare = found & plain.str.contains("^[0-9]{10}$")
    number = plain.filter(bare).cast(pl.Int64)
    total = pl.repeat(24, len(number), dtype=pl.Int64, eager=True)
    for place in range(10):
        digit = number // 10**place % 10
        total = total + (digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4).cast(pl.Int64))
    within = found & ~bare
    answers = pl.Series([holds(text) for text in plain.filter(within).to_list()], dtype=pl.Boolean)
    return found.clone().scatter(bare.arg_true(), total % 10 == 0).scatter(within.arg_true(), answers)


def _is_npi(text: str) -> bool:
    """Check the Luhn digit over 80840 and the number. Source: CMS, NPI check digit, 45 CFR 162.406."""
    digits = [int(each) for each in text if each.isdigit()]
    # 24 is what the prefix 80840 adds to the sum.
    total = 24 + sum(digits[-1::-2])
    return (total + sum(digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2])) % 10 == 0


# Everything that stands for a dash or a digit, after compatibility decomposition; and what is not seen at all.
_UNSEEN = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\ufeff"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u02d7\u2796"


@functools.cache
def _evened() -> dict[str, str]:
    digits = {
        chr(point): str(unicodedata.decimal(chr(point)))
        for point in range(0x80, 0x1FC00)
        if unicodedata.decimal(chr(point), -1) != -1
    }
    return {**digits, **dict.fromkeys(_DASHES, "-"), **dict.fromkeys(_UNSEEN, "")}


def _plain(text: str) -> tuple[str, list[int] | None]:
    """Even a text out; with it, for each character the place in the text that it came from (None: unchanged)."""
    if text.isascii():
        return text, None
    evened = _evened()
    characters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        for each in unicodedata.normalize("NFKD", character):
            if plain := evened.get(each, each):
                characters.append(plain)
                places.append(place)
    return "".join(characters), [*places, len(text)]


def _plain_column(column: pl.Series) -> pl.Series:
    other = column.str.len_bytes() != column.str.len_chars()
    if not other.any():
        return column
    evened = _evened()
    # What has several stand-ins is decomposed first, as `_plain` does it.
    plain = column.filter(other).str.normalize("NFKD").str.replace_many(list(evened), list(evened.values()))
    return column.clone().scatter(other.arg_true(), plain)
