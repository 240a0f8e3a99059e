"""Validate a CSV file against its contract: slow, short, and independent of the validation in wellspring."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import duckdb
import yaml

Reasons = dict[int, set[tuple[str, str]]]
_SSN = re.compile(r"\b\d{3}-\d{2}-\d{4}\b")


def validate_rows(file: Path, contract: Path) -> Reasons:
    """Return all reasons (code, column or rule) of each invalid row, by row number from 1."""
    signed = yaml.safe_load(contract.read_text(encoding="utf-8"))["schema"][0]
    with file.open(newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    matches: Reasons = defaultdict(set)
    key = [item["name"] for item in signed["properties"] if item.get("primaryKey")]
    by_key: dict[tuple[str, ...], list[int]] = defaultdict(list)
    typed: list[list[Any]] = []
    for number, row in enumerate(rows, start=1):
        by_key[tuple(row[name] for name in key)].append(number)
        typed.append([])
        for item in signed["properties"]:
            code, value = _column(item, row[item["name"]])
            typed[-1].append(value)
            if code is not None:
                matches[number].add((code, item["name"]))
            leaves = {custom["property"]: custom["value"] for custom in item["customProperties"]}["egress"]
            if leaves == "plain" and _SSN.search(row[item["name"]]):
                matches[number].add(("personal_data", item["name"]))
    for numbers in by_key.values():
        # Rows with one key and different values all wait; `recorded_at` could order them, but here it is equal.
        if len({tuple(rows[number - 1].values()) for number in numbers}) > 1:
            for number in numbers:
                matches[number].add(("unique", ",".join(key)))
    for name, places in _broken(signed, typed).items():
        for number in places:
            matches[number].add(("rule", name))
    return dict(matches)


def _column(signed: dict[str, Any], text: str) -> tuple[str | None, Any]:
    if text == "":
        return ("required" if signed.get("required") else None), None
    try:
        value = _KINDS[signed["logicalType"]](text)
    except (ValueError, InvalidOperation, KeyError):
        return "type", None
    options = signed.get("logicalTypeOptions", {})
    low, high = options.get("minimum"), options.get("maximum")
    limit = {"date": date.fromisoformat, "timestamp": datetime.fromisoformat}.get(signed["logicalType"], _as_given)
    if low is not None and not limit(low) <= value <= limit(high):
        return "range", value
    if "pattern" in options and not re.search(options["pattern"], text):
        return "pattern", value
    for check in signed.get("quality", []):
        if text not in check["arguments"]["validValues"]:
            return "enum", value
    return None, value


_KINDS: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": Decimal,
    "date": date.fromisoformat,
    "boolean": {"true": True, "false": False}.__getitem__,
    "timestamp": lambda text: datetime.fromisoformat(text).astimezone(UTC),
}


def _as_given(end: Any) -> Any:
    return end


def _broken(signed: dict[str, Any], typed: list[list[Any]]) -> dict[str, list[int]]:
    import pyarrow as pa

    kinds = {"string": pa.string(), "integer": pa.int64(), "number": pa.decimal128(12, 2), "date": pa.date32()}
    kinds["timestamp"] = pa.timestamp("us", "UTC")
    columns = signed["properties"]
    lists = zip(*typed, strict=True)
    claims = pa.table(
        {
            column["name"]: pa.array(list(values), kinds.get(column["logicalType"], pa.bool_()))
            for column, values in zip(columns, lists, strict=True)
        }
    )
    with duckdb.connect(":memory:") as engine:
        engine.register("claims", claims.append_column("place", pa.array(range(1, claims.num_rows + 1))))
        return {
            rule["name"]: [
                n for (n,) in engine.execute(f"SELECT place FROM claims WHERE NOT ({rule['query']})").fetchall()
            ]
            for rule in signed["quality"]
        }
