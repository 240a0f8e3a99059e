"""Records of the vault."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.builders.drops import admission_counts
from wellspring.records.ingestion import Drop
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.vault.records import AdmissionPart, OutboxEntry, QuarantinedRecord, StoredDrop

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def stored(name: str = "a.csv", identifier: str = "clearinghouse-0") -> StoredDrop:
    drop = Drop(
        tenant="wellspring-benefits",
        known_since=NOON,
        id=identifier,
        source="clearinghouse",
        name=name,
        digest="0" * 64,
        size=4,
        contract="medical_claim",
        contract_version="1.0.0",
        contract_digest="1" * 64,
    )
    return StoredDrop(drop, NOON, "2" * 64, "wrapped", NOON + timedelta(days=7), "version-1")


def fact(key: str) -> OutboxEntry:
    inputs = (Ref(name="source:clearinghouse/a.csv", digest="0" * 64),)
    return OutboxEntry(key, "land", "drop:clearinghouse-0", inputs, (), {"size": 4, "name": "a.csv", "received": None})


def part(number: int = 0, *, rows: int = 0) -> AdmissionPart:
    reasons = (Reason(code="pattern", message="it is wrong", column="x", count=rows),) if rows else ()
    verdict = Verdict(subject="drop:clearinghouse-0", outcome="pass")
    counts = admission_counts(verdict, admitted=4 - rows, quarantined=rows, reasons=reasons, rows_digest="3" * 64)
    return AdmissionPart("clearinghouse-0", number, "1" * 64, NOON, counts)


def rows(*numbers: int) -> list[QuarantinedRecord]:
    reason = Reason(code="pattern", message="it is wrong", column="x")
    return [QuarantinedRecord(number, bytes([number]), (reason,)) for number in numbers]
