"""A contract and an instant, for tests of stored originals."""

from __future__ import annotations

from datetime import UTC, datetime

from wellspring.records.contracts import DataContract

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def contract(**changes: object) -> DataContract:
    return DataContract(
        tenant="wellspring-benefits",
        known_since=NOON,
        name="medical_claim",
        version="1.0.0",
        digest="0" * 64,
        source="clearinghouse",
        files="medical_claim_*.csv",
        format="csv",
        owner="owner",
        contact="claims-data@clearinghouse.example.com",
        columns=(),
    ).model_copy(update=changes)
