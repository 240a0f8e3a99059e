"""Admission results of the enclave, for tests of the lake and later stages."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from wellspring.lake import table_hash
from wellspring.records.contracts import ContractColumn, DataContract
from wellspring.records.ingestion import AdmissionCounts, AdmissionResult, Drop
from wellspring.records.verdict import Reason, Verdict

LANDED = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)


def contract(name: str = "medical_claim", *, source: str = "clearinghouse", **changes: Any) -> DataContract:
    """Make a contract of four columns, one of which never leaves."""
    fields: dict[str, Any] = {
        "tenant": "acme",
        "known_since": LANDED,
        "name": name,
        "version": "1.0.0",
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "source": source,
        "files": f"{name}_*.csv",
        "format": "csv",
        "owner": "owner",
        "contact": "claims-data@clearinghouse.example.com",
        "columns": (
            ContractColumn(
                name="claim_id",
                type="string",
                egress="token",
                classification="identifier",
                domain="claim",
                required=True,
            ),
            ContractColumn(
                name="paid", type="decimal128(12, 2)", egress="plain", classification="financial", required=True
            ),
            ContractColumn(name="service_date", type="date32[day]", egress="plain", classification="clinical"),
            ContractColumn(name="member_name", type="string", egress="never", classification="identifier"),
        ),
        "key": ("claim_id",),
    }
    return DataContract(**{**fields, **changes})


def rows(count: int, *, first: int = 0) -> pa.Table:
    """Make rows of that contract, each with a different claim."""
    numbers = range(first, first + count)
    days = pa.array([20000 + number % 300 for number in numbers], pa.int32()).cast(pa.date32())
    return pa.table(
        {
            "claim_id": pa.array([f"claim_k1_{number:026d}" for number in numbers], pa.string()),
            "paid": pa.array([number % 5000 for number in numbers], pa.decimal128(12, 2)),
            "service_date": days,
            "row_number": pa.array([number - first + 1 for number in numbers], pa.int64()),
        }
    )


def admission_counts(
    verdict: Verdict,
    *,
    received: int | None = None,
    admitted: int = 0,
    quarantined: int = 0,
    reasons: tuple[Reason, ...] = (),
    rows_digest: str = "",
) -> AdmissionCounts:
    """Make the counts of one admission. received: default admitted + quarantined."""
    return AdmissionCounts(
        verdict=verdict,
        received=admitted + quarantined if received is None else received,
        admitted=admitted,
        quarantined=quarantined,
        masked=0,
        reasons=reasons,
        rows_digest=rows_digest,
    )


def with_counts(admission: AdmissionResult, **changes: Any) -> AdmissionResult:
    """Return an admission result with other counts."""
    return admission._replace(counts=admission.counts.model_copy(update=changes))


def intake(name: str, stored: DataContract, table: pa.Table, *, part: int = 0) -> AdmissionResult:
    """Make the admission result of one file."""
    drop = Drop(
        tenant="acme",
        known_since=LANDED,
        id=f"{stored.source}-{hashlib.sha256(name.encode()).hexdigest()[:12]}",
        source=stored.source,
        name=name,
        digest=hashlib.sha256(name.encode()).hexdigest(),
        size=1,
        contract=stored.name,
        contract_version=stored.version,
        contract_digest=stored.digest,
        replay_number=part,
    )
    return AdmissionResult(
        drop=drop,
        counts=admission_counts(
            Verdict(subject=drop.subject, outcome="pass"),
            admitted=table.num_rows,
            rows_digest=table_hash.hash_rows(table),
        ),
        rows=table.to_reader(max_chunksize=1000),
    )


def read_rows(admission: AdmissionResult) -> pa.Table:
    """Read the rows of an admission result, which can be read once."""
    assert admission.rows is not None
    return admission.rows.read_all()
