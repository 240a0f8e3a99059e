"""One column of an ODCS page -> Column: its type, its checks, and how it may leave the enclave."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, get_args

from wellspring.data.contracts.odcs import ContractDocument, DocumentPath, read_custom_properties
from wellspring.data.formats.parsed import ROW_FAULT, ROW_NUMBER
from wellspring.lake.staging import SYSTEM_COLUMNS
from wellspring.records.data import ContractColumn, EgressRule
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


def parse_column(
    document: ContractDocument, schema_property: SchemaProperty, path: DocumentPath, seen_columns: list[str]
) -> ContractColumn | None:
    """Read one column; None when it has no name or no type. before: the columns declared above, in lower case."""
    name = schema_property.name or ""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name):
        document.add_error((*path, "name"), "say a name of letters, digits and underscores")
        return None
    if name.casefold() in seen_columns:
        document.add_error((*path, "name"), f"the column {name!r} is declared twice")
    if name.casefold() in {ROW_NUMBER, ROW_FAULT}:
        document.add_error((*path, "name"), f"{name!r} is a name of the house's own; ask the vendor for another")
    kind = _parse_type(document, schema_property, path)
    egress, domain = _parse_egress(document, schema_property, path, kind)
    if egress != "never" and name.casefold() in SYSTEM_COLUMNS:
        document.add_error(
            (*path, "name"), f"the lake adds {name!r} itself; let it leave as `never`, or ask for another name"
        )
    if kind is None:
        return None
    low, high, pattern = _parse_bounds(document, schema_property, path)
    required, unique, values = _parse_checks(document, schema_property, path)
    return ContractColumn(
        name=name, type=kind, egress=egress, classification=schema_property.classification or "", domain=domain,
        required=required, unique=unique, enum=values, pattern=pattern, minimum=low, maximum=high,
    )  # fmt: skip


def _parse_type(document: ContractDocument, schema_property: SchemaProperty, path: DocumentPath) -> str | None:
    logical = schema_property.logicalType or ""
    if logical not in _TYPES:
        document.add_error((*path, "logicalType"), f"a column's type is one of {', '.join(_TYPES)}")
        return None
    if schema_property.physicalType and logical == "number":
        exact = re.fullmatch(
            r"(?:decimal|numeric)\( *([0-9]{1,2}) *, *([0-9]{1,2}) *\)", schema_property.physicalType, re.IGNORECASE
        )
        if exact and 1 <= int(exact[1]) <= 38 and int(exact[2]) <= int(exact[1]):
            return f"decimal128({int(exact[1])}, {int(exact[2])})"
        if schema_property.physicalType.casefold() not in {"double", "float", "float64", "double precision"}:
            document.add_error(
                (*path, "physicalType"), "a number is decimal(PRECISION,SCALE) with at most 38 digits, or double"
            )
    return _TYPES[logical]


def _parse_egress(
    document: ContractDocument, schema_property: SchemaProperty, path: DocumentPath, kind: str | None
) -> tuple[EgressRule, str | None]:
    """Read how a column leaves. Without a classification it never does, whatever it says."""
    egress_path, domain_path = (*path, "customProperties", "egress"), (*path, "customProperties", "domain")
    properties = read_custom_properties(
        document, (*path, "customProperties"), schema_property.customProperties, {"egress", "domain"}
    )
    egress: EgressRule | None = properties.get("egress")
    # YAML reads a bare `no` as false: a domain that is no text is no domain.
    domain = properties["domain"] if isinstance(properties.get("domain"), str) else None
    if egress is None and not schema_property.classification:
        return "never", None
    if egress is None or egress not in get_args(EgressRule):
        document.add_error(egress_path, f"say how it leaves the enclave: one of {', '.join(get_args(EgressRule))}")
        return "never", None
    if egress == "token" and not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", domain or ""):
        document.add_error(domain_path, "a token needs a domain of lower-case letters: columns of one domain join")
    if egress != "token" and properties.get("domain") is not None:
        document.add_error(domain_path, "only what leaves as a token has a domain")
    if egress in ("token", "prefix(3)", "masked") and kind not in ("string", None):
        document.add_error(egress_path, f"only a string leaves as {egress}; declare it `logicalType: string`")
    if egress == "year" and not (kind or "date").startswith(("date", "timestamp")):
        document.add_error(egress_path, "only a date or a timestamp leaves as its year")
    if (
        egress == "plain"
        and re.search(dlp.BIRTH_DATE_COLUMN, (schema_property.name or "").casefold())
        and kind != "bool"
    ):
        document.add_error(egress_path, "a date of birth does not leave as it is; say `year` or `never`")
    if not schema_property.classification:
        return "never", None
    return egress, domain if egress == "token" else None


def _parse_bounds(
    document: ContractDocument, schema_property: SchemaProperty, path: DocumentPath
) -> tuple[float | str | None, float | str | None, str | None]:
    import polars as pl

    logical, options = str(schema_property.logicalType), schema_property.logicalTypeOptions or {}
    for key in sorted(options.keys() - _OPTIONS[logical]):
        supported = ", ".join(sorted(_OPTIONS[logical])) or "nothing"
        document.add_error(
            (*path, "logicalTypeOptions", key), f"the house holds a {logical} to {supported}; leave this out"
        )
    limits: list[float | str | None] = []
    for key in ("minimum", "maximum"):
        limit = options.get(key) if key in _OPTIONS[logical] else None
        try:
            limits.append(None if limit is None else _parse_limit(limit, logical))
        except (TypeError, ValueError):
            example = "a date as '2020-01-31'" if logical in ("date", "timestamp") else "a number"
            document.add_error((*path, "logicalTypeOptions", key), f"say {example}")
            limits.append(None)
    low, high = limits
    # Both ends of one column were read as its one type: two numbers, or two dates as text.
    if low is not None and high is not None and low > high:  # pyright: ignore[reportOperatorIssue]
        document.add_error((*path, "logicalTypeOptions"), "the minimum is above the maximum")
    pattern = options.get("pattern") if logical == "string" else None
    if pattern is not None:
        try:
            pl.Series(["x"]).str.contains(str(pattern))
        except pl.exceptions.ComputeError:
            message = "the pattern cannot be compiled; look-around and back-references are not known here"
            document.add_error((*path, "logicalTypeOptions", "pattern"), message)
    return low, high, None if pattern is None else str(pattern)


def _parse_limit(limit: Any, logical: str) -> float | str:
    if logical == "date":
        return date.fromisoformat(str(limit)).isoformat()
    if logical == "timestamp":
        return datetime.fromisoformat(str(limit)).isoformat()
    if isinstance(limit, bool | str):
        raise TypeError
    return float(limit)


def _parse_checks(
    document: ContractDocument, schema_property: SchemaProperty, path: DocumentPath
) -> tuple[bool, bool, tuple[str, ...]]:
    """Read required, unique and the valid values, from the column's own keys and from its quality."""
    required, unique, values = bool(schema_property.required), bool(schema_property.unique), tuple[str, ...]()
    for index, check in enumerate(schema_property.quality or []):
        check_path = (*path, "quality", index)
        if check.type not in (None, "library") or check.metric not in _METRICS:
            document.add_error(
                check_path, "a check of one column is metric invalidValues, nullValues or duplicateValues"
            )
        elif check.mustBe != 0 or isinstance(check.mustBe, bool):
            document.add_error((*check_path, "mustBe"), "the house judges each row: write `mustBe: 0`")
        elif check.metric == "nullValues":
            required = True
        elif check.metric == "duplicateValues":
            unique = True
        else:
            values = _parse_valid_values(document, check, check_path, schema_property)
    return required, unique, values


def _parse_valid_values(
    document: ContractDocument, check: DataQuality, path: DocumentPath, schema_property: SchemaProperty
) -> tuple[str, ...]:
    listed = (check.arguments or {}).get("validValues")
    if set(check.arguments or {}) != {"validValues"} or not isinstance(listed, list) or not listed:
        document.add_error((*path, "arguments"), "say `arguments: { validValues: [one, two] }` and nothing else")
        return ()
    value_type = {"string": str, "integer": int}.get(str(schema_property.logicalType))
    if value_type is None:
        document.add_error(path, "only a string or an integer has valid values")
    elif any(not isinstance(value, value_type) or isinstance(value, bool) for value in listed):
        document.add_error((*path, "arguments"), "quote every valid value of a string; YAML reads 02 and yes otherwise")
    return tuple(str(value) for value in listed)
