"""A drop of the vault protocol."""

from __future__ import annotations

from datetime import UTC, datetime

from wellspring.records.ingestion import Drop

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
DROP = Drop(
    tenant="wellspring-benefits",
    known_since=NOON,
    id="clearinghouse-0",
    source="clearinghouse",
    name="a.csv",
    digest="0" * 64,
    size=4,
    contract="medical_claim",
    contract_version="1.0.0",
    contract_digest="1" * 64,
)
