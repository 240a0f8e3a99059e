"""What the enclave's database holds, as the rest of the enclave sees it, and how a row of it is read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import JsonValue

from wellspring.records.data import Drop
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict


class OutboxEntry(NamedTuple):
    """One entry of the ledger that a change calls for. key: one fact has one key, for ever (`admit/DROP/0`)."""

    key: str
    action: str
    subject: str
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    facts: dict[str, JsonValue]


class StoredDrop(NamedTuple):
    """A drop as the enclave knows it. modified: by the source's clock. wrapped: None once its retention ended."""

    drop: Drop
    modified: datetime
    original_digest: Digest
    wrapped_key: str | None
    retention_until: datetime


class AdmissionPart(NamedTuple):
    """What one judgement of a drop let out. part 0: the drop as it came; n > 0: its n-th replay."""

    drop: str
    replay_number: int
    contract_digest: Digest
    known_since: datetime
    verdict: Verdict
    received: int
    admitted: int
    quarantined: int
    masked: int
    reasons: tuple[Reason, ...]
    rows_digest: Digest
    settled: bool = False


class QuarantinedRecord(NamedTuple):
    """One row in quarantine. The row itself waits in the drop's original; here are its number and why it waits.

    sealed: its values, masked and then encrypted under the drop's data key, to be shown. fault: what no replay mends.
    part: the replay that let it out, not yet settled.
    """

    row_number: int
    sealed: bytes
    reasons: tuple[Reason, ...]
    permanent_fault: str | None = None
    replay_number: int | None = None


def encode_reasons(reasons: Iterable[Reason]) -> list[dict[str, Any]]:
    """Write reasons for the database."""
    return [reason.model_dump(mode="json") for reason in reasons]


def decode_reasons(values: list[Any]) -> tuple[Reason, ...]:
    """Read reasons."""
    return tuple(Reason.model_validate(value) for value in values)


def decode_stored_drop(row: dict[str, Any]) -> StoredDrop:
    """Read a row of `drops`."""
    return StoredDrop(
        Drop.model_validate(row["record"]),
        row["modified"],
        row["original_digest"],
        row["wrapped_key"],
        row["retention_until"],
    )


def decode_admission_part(row: dict[str, Any]) -> AdmissionPart:
    """Read a row of `parts`."""
    return AdmissionPart(
        row["drop_id"],
        row["replay_number"],
        row["contract_digest"],
        row["known_since"],
        Verdict.model_validate(row["verdict"]),
        row["received"],
        row["admitted"],
        row["quarantined"],
        row["masked"],
        decode_reasons(row["reasons"]),
        row["rows_digest"],
        row["settled"],
    )


def decode_quarantined_record(row: dict[str, Any]) -> QuarantinedRecord:
    """Read a row of `quarantine`."""
    return QuarantinedRecord(
        row["row_number"],
        bytes(row["sealed"]),
        decode_reasons(row["reasons"]),
        row["permanent_fault"],
        row["replay_number"],
    )


def decode_outbox_entry(row: dict[str, Any]) -> OutboxEntry:
    """Read a row of `facts`."""
    return OutboxEntry(
        row["key"],
        row["action"],
        row["subject"],
        tuple(Ref.model_validate(ref) for ref in row["inputs"]),
        tuple(Ref.model_validate(ref) for ref in row["outputs"]),
        row["facts"],
    )
