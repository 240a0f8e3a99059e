"""Define the records of the enclave's database, and decode its rows."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import JsonValue

from wellspring.records.ingestion import AdmissionCounts, Drop
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason

if TYPE_CHECKING:
    import numpy as np


class OutboxEntry(NamedTuple):
    """A ledger entry to be written for a change. key: unique for each change (`admit/DROP/0`)."""

    key: str
    action: str
    subject: str
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    facts: dict[str, JsonValue]


class StoredDrop(NamedTuple):
    """A stored drop. modified, identity: of its file, by the source. wrapped_key: None after its retention ended.

    withdrawn: a user took it out, or its bytes are those of such a drop. rejudgements: how often it was judged again.
    """

    drop: Drop
    modified: datetime
    original_digest: Digest
    wrapped_key: str | None
    retention_until: datetime
    identity: str = ""
    withdrawn: bool = False
    rejudgements: int = 0


class UnfinishedDrop(NamedTuple):
    """A drop whose rows are not all published. admitted: its first validation is stored. settled: it was discarded."""

    stored_drop: StoredDrop
    admitted: bool
    settled: bool


class FinishedFile(NamedTuple):
    """What the source showed of a file whose drop is published, or has nothing to publish."""

    size: int
    modified: datetime
    identity: str


class AdmissionPart(NamedTuple):
    """The result of one validation of a drop. replay_number 0: the drop as received; n > 0: its n-th replay.

    excluded: the valid rows that were left out because of rows of earlier drops (`encode_row_numbers`).
    """

    drop: str
    replay_number: int
    contract_digest: Digest
    known_since: datetime
    counts: AdmissionCounts
    settled: bool = False
    excluded: bytes = b""


class QuarantinedRecord(NamedTuple):
    """One quarantined row: its number and reasons. The row itself stays in the drop's original.

    sealed: its values for display, masked, then encrypted with the drop's data key. replay_number: the replay that
    released it and is not settled.
    """

    row_number: int
    sealed: bytes
    reasons: tuple[Reason, ...]
    replay_number: int | None = None


def encode_row_numbers(row_numbers: np.ndarray[Any, Any]) -> bytes:
    """Encode ascending row numbers: the differences of neighbours, compressed."""
    import numpy as np

    return zlib.compress(np.diff(row_numbers, prepend=0).astype("<i8").tobytes()) if len(row_numbers) else b""


def decode_row_numbers(encoded: bytes) -> np.ndarray[Any, Any]:
    """Reverse `encode_row_numbers`."""
    import numpy as np

    return np.cumsum(np.frombuffer(zlib.decompress(encoded), "<i8")) if encoded else np.empty(0, np.int64)


def encode_reasons(reasons: Iterable[Reason]) -> list[dict[str, Any]]:
    """Encode reasons for the database."""
    return [reason.model_dump(mode="json") for reason in reasons]


def decode_reasons(values: list[Any]) -> tuple[Reason, ...]:
    """Decode reasons from the database."""
    return tuple(Reason.model_validate(value) for value in values)


def decode_stored_drop(row: dict[str, Any]) -> StoredDrop:
    """Decode a row of `drops`."""
    return StoredDrop(
        Drop.model_validate(row["record"]),
        row["modified"],
        row["original_digest"],
        row["wrapped_key"],
        row["retention_until"],
        row["identity"],
        row["withdrawn_at"] is not None,
        row["rejudgements"],
    )


def decode_admission_part(row: dict[str, Any]) -> AdmissionPart:
    """Decode a row of `admissions`."""
    return AdmissionPart(
        row["drop_id"],
        row["replay_number"],
        row["contract_digest"],
        row["known_since"],
        AdmissionCounts.model_validate(row["counts"]),
        row["settled"],
        bytes(row["excluded"]),
    )


def decode_quarantined_record(row: dict[str, Any]) -> QuarantinedRecord:
    """Decode a row of `quarantine`."""
    return QuarantinedRecord(
        row["row_number"],
        bytes(row["sealed"]),
        decode_reasons(row["reasons"]),
        row["replay_number"],
    )
