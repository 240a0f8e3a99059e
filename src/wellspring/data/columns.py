"""One column of an ODCS page -> Column: its type, its checks, and how it may leave the enclave."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, get_args

from wellspring.data.formats.parsed import FAULT, ROW
from wellspring.data.odcs import Page, Where, said
from wellspring.data.staged import OURS
from wellspring.records.data import Column, Leaves
from wellspring.trust import dlp

if TYPE_CHECKING:
    from open_data_contract_standard.model import DataQuality, SchemaProperty

_METRICS = {"invalidValues", "nullValues", "duplicateValues"}
_TYPES = {
    "string": "string",
    "integer": "int64",
    "number": "float64",
    "boolean": "bool",
    "date": "date32[day]",
    "timestamp": "timestamp[us, tz=UTC]",
}
_OPTIONS = {
    "string": {"pattern"},
    "integer": {"minimum", "maximum"},
    "number": {"minimum", "maximum"},
    "date": {"minimum", "maximum"},
    "timestamp": {"minimum", "maximum"},
    "boolean": set[str](),
}


def column(page: Page, each: SchemaProperty, where: Where, before: list[str]) -> Column | None:
    """Read one column; None when it has no name or no type. before: the columns declared above, in lower case."""
    name = each.name or ""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name):
        page.wrong((*where, "name"), "say a name of letters, digits and underscores")
        return None
    if name.casefold() in before:
        page.wrong((*where, "name"), f"the column {name!r} is declared twice")
    if name.casefold() in {ROW, FAULT}:
        page.wrong((*where, "name"), f"{name!r} is a name of the house's own; ask the vendor for another")
    kind = _type(page, each, where)
    leaves, domain = _leaves(page, each, where, kind)
    if leaves != "never" and name.casefold() in OURS:
        page.wrong((*where, "name"), f"the lake adds {name!r} itself; let it leave as `never`, or ask for another name")
    if kind is None:
        return None
    low, high, pattern = _bounds(page, each, where)
    required, unique, values = _checks(page, each, where)
    return Column(
        name=name, type=kind, leaves=leaves, classification=each.classification or "", domain=domain,
        required=required, unique=unique, enum=values, pattern=pattern, minimum=low, maximum=high,
    )  # fmt: skip


def _type(page: Page, each: SchemaProperty, where: Where) -> str | None:
    logical = each.logicalType or ""
    if logical not in _TYPES:
        page.wrong((*where, "logicalType"), f"a column's type is one of {', '.join(_TYPES)}")
        return None
    if each.physicalType and logical == "number":
        exact = re.fullmatch(
            r"(?:decimal|numeric)\( *([0-9]{1,2}) *, *([0-9]{1,2}) *\)", each.physicalType, re.IGNORECASE
        )
        if exact and 1 <= int(exact[1]) <= 38 and int(exact[2]) <= int(exact[1]):
            return f"decimal128({int(exact[1])}, {int(exact[2])})"
        if each.physicalType.casefold() not in {"double", "float", "float64", "double precision"}:
            page.wrong(
                (*where, "physicalType"), "a number is decimal(PRECISION,SCALE) with at most 38 digits, or double"
            )
    return _TYPES[logical]


def _leaves(page: Page, each: SchemaProperty, where: Where, kind: str | None) -> tuple[Leaves, str | None]:
    """Read how a column leaves. Without a classification it never does, whatever it says."""
    at, named = (*where, "customProperties", "leaves"), (*where, "customProperties", "domain")
    told = said(page, (*where, "customProperties"), each.customProperties, {"leaves", "domain"})
    leaves: Leaves | None = told.get("leaves")
    # YAML reads a bare `no` as false: a domain that is no text is no domain.
    domain = told["domain"] if isinstance(told.get("domain"), str) else None
    if leaves is None and not each.classification:
        return "never", None
    if leaves is None or leaves not in get_args(Leaves):
        page.wrong(at, f"say how it leaves the enclave: one of {', '.join(get_args(Leaves))}")
        return "never", None
    if leaves == "token" and not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", domain or ""):
        page.wrong(named, "a token needs a domain of lower-case letters: columns of one domain join")
    if leaves != "token" and told.get("domain") is not None:
        page.wrong(named, "only what leaves as a token has a domain")
    if leaves in ("token", "zip3", "masked") and kind not in ("string", None):
        page.wrong(at, f"only a string leaves as {leaves}; declare it `logicalType: string`")
    if leaves == "year" and not (kind or "date").startswith(("date", "timestamp")):
        page.wrong(at, "only a date or a timestamp leaves as its year")
    if leaves == "as_is" and re.search(dlp.BIRTH, (each.name or "").casefold()) and kind != "bool":
        page.wrong(at, "a date of birth does not leave as it is; say `year` or `never`")
    if not each.classification:
        return "never", None
    return leaves, domain if leaves == "token" else None


def _bounds(
    page: Page, each: SchemaProperty, where: Where
) -> tuple[float | str | None, float | str | None, str | None]:
    import polars as pl

    logical, options = str(each.logicalType), each.logicalTypeOptions or {}
    for key in sorted(options.keys() - _OPTIONS[logical]):
        can = ", ".join(sorted(_OPTIONS[logical])) or "nothing"
        page.wrong((*where, "logicalTypeOptions", key), f"the house holds a {logical} to {can}; leave this out")
    ends: list[float | str | None] = []
    for key in ("minimum", "maximum"):
        end = options.get(key) if key in _OPTIONS[logical] else None
        try:
            ends.append(None if end is None else _bound(end, logical))
        except (TypeError, ValueError):
            example = "a date as '2020-01-31'" if logical in ("date", "timestamp") else "a number"
            page.wrong((*where, "logicalTypeOptions", key), f"say {example}")
            ends.append(None)
    low, high = ends
    # Both ends of one column were read as its one type: two numbers, or two dates as text.
    if low is not None and high is not None and low > high:  # pyright: ignore[reportOperatorIssue]
        page.wrong((*where, "logicalTypeOptions"), "the minimum is above the maximum")
    pattern = options.get("pattern") if logical == "string" else None
    if pattern is not None:
        try:
            pl.Series(["x"]).str.contains(str(pattern))
        except pl.exceptions.ComputeError:
            what = "the pattern cannot be compiled; look-around and back-references are not known here"
            page.wrong((*where, "logicalTypeOptions", "pattern"), what)
    return low, high, None if pattern is None else str(pattern)


def _bound(end: Any, logical: str) -> float | str:
    if logical == "date":
        return date.fromisoformat(str(end)).isoformat()
    if logical == "timestamp":
        return datetime.fromisoformat(str(end)).isoformat()
    if isinstance(end, bool | str):
        raise TypeError
    return float(end)


def _checks(page: Page, each: SchemaProperty, where: Where) -> tuple[bool, bool, tuple[str, ...]]:
    """Read required, unique and the valid values, from the column's own keys and from its quality."""
    required, unique, values = bool(each.required), bool(each.unique), tuple[str, ...]()
    for place, check in enumerate(each.quality or []):
        at = (*where, "quality", place)
        if check.type not in (None, "library") or check.metric not in _METRICS:
            page.wrong(at, "a check of one column is metric invalidValues, nullValues or duplicateValues")
        elif check.mustBe != 0 or isinstance(check.mustBe, bool):
            page.wrong((*at, "mustBe"), "the house judges each row: write `mustBe: 0`")
        elif check.metric == "nullValues":
            required = True
        elif check.metric == "duplicateValues":
            unique = True
        else:
            values = _valid(page, check, at, each)
    return required, unique, values


def _valid(page: Page, check: DataQuality, where: Where, each: SchemaProperty) -> tuple[str, ...]:
    listed = (check.arguments or {}).get("validValues")
    if set(check.arguments or {}) != {"validValues"} or not isinstance(listed, list) or not listed:
        page.wrong((*where, "arguments"), "say `arguments: { validValues: [one, two] }` and nothing else")
        return ()
    wanted = {"string": str, "integer": int}.get(str(each.logicalType))
    if wanted is None:
        page.wrong(where, "only a string or an integer has valid values")
    elif any(not isinstance(value, wanted) or isinstance(value, bool) for value in listed):
        page.wrong((*where, "arguments"), "quote every valid value of a string; YAML reads 02 and yes otherwise")
    return tuple(str(value) for value in listed)
