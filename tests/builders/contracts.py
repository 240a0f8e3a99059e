"""Builders of contracts and CSV text."""

from datetime import UTC, datetime
from typing import Any

from wellspring.records.contracts import ContractColumn, DataContract

EXPECTED = datetime(2026, 11, 25, 15, 0, tzinfo=UTC)


def column(name: str, kind: str = "string", egress: Any = "plain", **more: Any) -> ContractColumn:
    """Make one declared column."""
    return ContractColumn(name=name, type=kind, egress=egress, **{"classification": "operational", **more})


def contract(*columns: ContractColumn, **more: Any) -> DataContract:
    """Make a contract of these columns; by default of an id that is the key, a date and an amount."""
    fields: dict[str, Any] = {
        "tenant": "tests", "known_since": EXPECTED, "name": "claim", "version": "1.0.0", "digest": "0" * 64,
        "source": "vendor", "files": "claim_*.csv", "format": "csv", "owner": "owner",
        "contact": "claims@vendor.example.com", "columns": columns or (
            column("id", egress="token", domain="claim", required=True),
            column("day", "date32[day]"),
            column("amount", "decimal128(12, 2)"),
        ),
    }  # fmt: skip
    return DataContract(**{**fields, **more})


def text(*lines: str) -> bytes:
    """Encode lines as a text file."""
    return "".join(f"{line}\n" for line in lines).encode()
