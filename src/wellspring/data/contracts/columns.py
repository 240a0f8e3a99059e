"""Parse one column of an ODCS document into a ContractColumn: type, checks and egress rule."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wellspring.data.contracts.casting import parse_bound
from wellspring.data.contracts.normalization import DEFAULT_STEPS, STEP_NAMES, normalize_text, parse_steps
from wellspring.data.contracts.odcs import ContractDocument, DocumentPath, read_custom_properties
from wellspring.data.contracts.patterns import translate_pattern
from wellspring.data.formats.parsed import RESERVED_COLUMNS
from wellspring.lake.staging import SYSTEM_COLUMNS
from wellspring.records.contracts import ContractColumn, EgressRule
from wellspring.trust.dlp.packs.general import BIRTH_DATE_COLUMN

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
_PHYSICAL_TYPES = {
    "string": {"string", "text", "varchar", "char"},
    "integer": {"integer", "int", "int64", "bigint", "long"},
    "number": {"double", "float", "float64", "double precision"},
    "boolean": {"boolean", "bool"},
    "date": {"date", "date32"},
    "timestamp": {"timestamp", "timestamptz", "timestamp with time zone"},
}
"""The physical types that say no more than the logical type; a number also has the exact ones."""
_FIRST_INTEGER, _LAST_INTEGER = -(2**63), 2**63 - 1
_INTEGER_RANGE = f"an integer from {_FIRST_INTEGER} to {_LAST_INTEGER}"
_OPTIONS = {
    "string": {"pattern"},
    "integer": {"minimum", "maximum"},
    "number": {"minimum", "maximum"},
    "date": {"minimum", "maximum"},
    "timestamp": {"minimum", "maximum", "timezone", "defaultTimezone"},
    "boolean": set[str](),
}


def prefix_length(egress: str) -> int | None:
    """Return n of the egress rule `prefix(n)`, or None for any other rule."""
    match = re.fullmatch(r"prefix\(([0-9]+)\)", egress)
    return int(match[1]) if match else None


def parse_column(
    document: ContractDocument, schema_property: SchemaProperty, path: DocumentPath, seen_columns: list[str]
) -> ContractColumn | None:
    """Parse one column and add its errors to the document. Returns None when the name or the type is invalid.

    seen_columns: the names of the columns declared before it, case-folded.
    """
    name = schema_property.name or ""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name):
        document.add_error((*path, "name"), "a column name consists of letters, digits and underscores")
        return None
    if name.casefold() in seen_columns:
        document.add_error((*path, "name"), f"the column {name!r} is declared twice")
    if name.casefold() in RESERVED_COLUMNS:
        document.add_error(
            (*path, "name"), f"{name!r} is reserved by wellspring; ask the vendor for another column name"
        )
    kind = _parse_type(document, schema_property, path)
    properties = read_custom_properties(
        document, (*path, "customProperties"), schema_property.customProperties, {"egress", "domain", "normalization"}
    )
    egress, domain = _parse_egress(document, schema_property, properties, path, kind)
    if egress != "never" and name.casefold() in SYSTEM_COLUMNS:
        document.add_error(
            (*path, "name"),
            f"{name!r} is a system column of the lake; set egress `never`, or ask the vendor for another column name",
        )
    if kind is None:
        return None
    low, high, pattern = _parse_bounds(document, schema_property, path)
    required, unique, values = _parse_checks(document, schema_property, path)
    steps = _parse_normalization(document, properties, path)
    _check_valid_values(document, values if kind == "string" else (), steps, path)
    return ContractColumn(
        name=name, type=kind, egress=egress, classification=schema_property.classification or "", domain=domain,
        # A row without its key could not be compared with any other.
        required=required or bool(schema_property.primaryKey),
        unique=unique, enum=values, pattern=pattern, minimum=low, maximum=high,
        path=schema_property.physicalName if schema_property.physicalName != name else None,
        normalization=steps,
        timezone=_parse_timezone(document, schema_property, path),
        zone_required=(schema_property.logicalTypeOptions or {}).get("timezone") is True,
        title=schema_property.businessName,
        description=schema_property.description,
    )  # fmt: skip


def _parse_type(document: ContractDocument, schema_property: SchemaProperty, path: DocumentPath) -> str | None:
    logical = schema_property.logicalType or ""
    if logical not in _TYPES:
        document.add_error((*path, "logicalType"), f"a column's type is one of {', '.join(_TYPES)}")
        return None
    physical = schema_property.physicalType or ""
    exact = re.fullmatch(r"(?:decimal|numeric)\( *([0-9]{1,2}) *, *([0-9]{1,2}) *\)", physical, re.IGNORECASE)
    if logical == "number" and exact and 1 <= int(exact[1]) <= 38 and int(exact[2]) <= int(exact[1]):
        return f"decimal128({int(exact[1])}, {int(exact[2])})"
    if physical and physical.casefold() not in _PHYSICAL_TYPES[logical]:
        listed = ", ".join(sorted(_PHYSICAL_TYPES[logical]))
        exact_numbers = "decimal(PRECISION,SCALE) with at most 38 digits, " if logical == "number" else ""
        document.add_error(
            (*path, "physicalType"),
            f"a {logical} column has the physical type {exact_numbers}{listed}; no other is enforced. A pattern can "
            "limit the length of a text: ^.{0,20}$",
        )
    return _TYPES[logical]


def _parse_normalization(document: ContractDocument, properties: dict[str, Any], path: DocumentPath) -> tuple[str, ...]:
    if "normalization" not in properties:
        return DEFAULT_STEPS
    steps = parse_steps(properties["normalization"])
    if steps is None:
        document.add_error(
            (*path, "customProperties", "normalization"),
            f"write steps separated by spaces, each once: {', '.join(STEP_NAMES)}; `none` and a case stand alone",
        )
        return DEFAULT_STEPS
    return steps


def _parse_timezone(document: ContractDocument, schema_property: SchemaProperty, path: DocumentPath) -> str | None:
    """Parse the zone of times that name none. With `timezone: true` every time names its zone."""
    options = schema_property.logicalTypeOptions or {}
    options_path = (*path, "logicalTypeOptions")
    if not isinstance(options.get("timezone", True), bool):
        document.add_error((*options_path, "timezone"), "write true or false")
    name = options.get("defaultTimezone")
    if name is None:
        return None
    if options.get("timezone") is True:
        document.add_error(
            (*options_path, "defaultTimezone"), "with `timezone: true` each time names its zone; remove one of the two"
        )
    try:
        ZoneInfo(name if isinstance(name, str) else "")
    except (ValueError, OSError, ZoneInfoNotFoundError):
        document.add_error(
            (*options_path, "defaultTimezone"), "write the name of a time zone, for example America/New_York"
        )
        return None
    return str(name)


def _parse_egress(
    document: ContractDocument,
    schema_property: SchemaProperty,
    properties: dict[str, Any],
    path: DocumentPath,
    kind: str | None,
) -> tuple[EgressRule, str | None]:
    """Parse the egress rule and the token domain. A column without a classification gets the rule `never`."""
    egress_path, domain_path = (*path, "customProperties", "egress"), (*path, "customProperties", "domain")
    egress: EgressRule | None = properties.get("egress")
    # YAML reads a bare `no` as false; a domain that is not text counts as missing.
    domain = properties["domain"] if isinstance(properties.get("domain"), str) else None
    if egress is None and not schema_property.classification:
        return "never", None
    if egress is None or egress not in get_args(EgressRule):
        document.add_error(
            egress_path, "set `egress` to plain, token, year, prefix(n) with n from 1 to 10, masked or never"
        )
        return "never", None
    if egress == "token" and not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", domain or ""):
        document.add_error(
            domain_path, "a token needs a domain of lower-case letters; columns of one domain can be joined"
        )
    if egress != "token" and properties.get("domain") is not None:
        document.add_error(domain_path, "only a column with egress `token` has a domain")
    if (egress in ("token", "masked") or prefix_length(egress)) and kind not in ("string", None):
        document.add_error(egress_path, f"egress {egress} needs a string column; declare `logicalType: string`")
    if egress == "year" and not (kind or "date").startswith(("date", "timestamp")):
        document.add_error(egress_path, "egress year needs a date or a timestamp column")
    if egress == "plain" and re.search(BIRTH_DATE_COLUMN, (schema_property.name or "").casefold()) and kind != "bool":
        document.add_error(egress_path, "a date of birth may not have egress plain; set `year` or `never`")
    if not schema_property.classification:
        return "never", None
    return egress, domain if egress == "token" else None


def _parse_bounds(
    document: ContractDocument, schema_property: SchemaProperty, path: DocumentPath
) -> tuple[int | float | str | None, int | float | str | None, str | None]:
    import polars as pl

    logical, options = str(schema_property.logicalType), schema_property.logicalTypeOptions or {}
    for key in sorted(options.keys() - _OPTIONS[logical]):
        supported = ", ".join(sorted(_OPTIONS[logical])) or "nothing"
        document.add_error(
            (*path, "logicalTypeOptions", key),
            f"unsupported option; a {logical} column supports {supported}; remove it",
        )
    limits: list[int | float | str | None] = []
    for key in ("minimum", "maximum"):
        limit = options.get(key) if key in _OPTIONS[logical] else None
        try:
            limits.append(None if limit is None else _parse_limit(limit, logical))
        except (TypeError, ValueError):
            example = "a number" if logical == "number" else _INTEGER_RANGE
            example = "a date as '2020-01-31'" if logical in ("date", "timestamp") else example
            document.add_error((*path, "logicalTypeOptions", key), f"write {example}")
            limits.append(None)
    low, high = limits
    timezone = _parse_timezone(document, schema_property, path)
    if low is not None and high is not None and _is_above(low, high, logical, timezone):
        document.add_error((*path, "logicalTypeOptions"), "the minimum is above the maximum")
    pattern = options.get("pattern") if logical == "string" else None
    if pattern is not None and not isinstance(pattern, str):
        document.add_error((*path, "logicalTypeOptions", "pattern"), "write the pattern as a quoted text")
        pattern = None
    elif pattern is not None:
        pattern = translate_pattern(pattern)
        try:
            pl.Series(["x"]).str.contains(pattern)
        except pl.exceptions.ComputeError:
            message = "the pattern cannot be compiled; look-around and back-references are not supported"
            document.add_error((*path, "logicalTypeOptions", "pattern"), message)
    return low, high, pattern


def _is_above(low: float | str, high: float | str, logical: str, timezone: str | None) -> bool:
    """Compare two limits of one column: two numbers, or two ISO dates or instants as text."""
    first: Any = parse_bound(low, logical, timezone)
    return bool(first > parse_bound(high, logical, timezone))


def _parse_limit(limit: Any, logical: str) -> int | float | str:
    if logical == "date":
        return date.fromisoformat(str(limit)).isoformat()
    if logical == "timestamp":
        return datetime.fromisoformat(str(limit)).isoformat()
    if isinstance(limit, bool | str) or not math.isfinite(limit):
        raise TypeError
    if logical == "integer" and not _FIRST_INTEGER <= limit <= _LAST_INTEGER:
        raise ValueError
    return limit if isinstance(limit, int) else float(limit)


def _parse_checks(
    document: ContractDocument, schema_property: SchemaProperty, path: DocumentPath
) -> tuple[bool, bool, tuple[str, ...]]:
    """Parse required, unique and the valid values from the keys and the quality checks of a column."""
    required, unique, values = bool(schema_property.required), bool(schema_property.unique), tuple[str, ...]()
    lists_values = False
    for index, check in enumerate(schema_property.quality or []):
        check_path = (*path, "quality", index)
        if check.type not in (None, "library") or check.metric not in _METRICS:
            document.add_error(check_path, "a column check has the metric invalidValues, nullValues or duplicateValues")
        elif check.mustBe != 0 or isinstance(check.mustBe, bool):
            document.add_error((*check_path, "mustBe"), "each row is validated: write `mustBe: 0`")
        elif check.metric == "nullValues":
            required = True
        elif check.metric == "duplicateValues":
            unique = True
        elif lists_values:
            document.add_error(check_path, "a column has one check with the metric invalidValues; join the two lists")
        else:
            lists_values = True
            values = _parse_valid_values(document, check, check_path, schema_property)
    return required, unique, values


def _check_valid_values(
    document: ContractDocument, values: tuple[str, ...], steps: tuple[str, ...], path: DocumentPath
) -> None:
    """Check that each valid value is as the normalization leaves it; otherwise no row could have it."""
    for value in values:
        normalized = normalize_text(value, steps)
        if normalized != value:
            document.add_error(
                (*path, "quality"),
                f"the normalization {' '.join(steps)!r} makes the valid value {value!a} {normalized!a}; write it so, "
                "or change the normalization",
            )


def _parse_valid_values(
    document: ContractDocument, check: DataQuality, path: DocumentPath, schema_property: SchemaProperty
) -> tuple[str, ...]:
    listed = (check.arguments or {}).get("validValues")
    if set(check.arguments or {}) != {"validValues"} or not isinstance(listed, list) or not listed:
        document.add_error((*path, "arguments"), "write only `arguments: { validValues: [FIRST, SECOND] }`")
        return ()
    if any(isinstance(value, int) and not _FIRST_INTEGER <= value <= _LAST_INTEGER for value in listed):
        document.add_error((*path, "arguments"), f"write {_INTEGER_RANGE}; no row can have another")
    value_type = {"string": str, "integer": int}.get(str(schema_property.logicalType))
    if value_type is None:
        document.add_error(path, "only a string or an integer column has valid values")
    elif any(not isinstance(value, value_type) or isinstance(value, bool) for value in listed):
        document.add_error(
            (*path, "arguments"),
            "quote every valid value of a string column; YAML reads 02 as a number and yes as a boolean",
        )
    return tuple(str(value) for value in listed)
