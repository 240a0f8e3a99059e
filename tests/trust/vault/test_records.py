"""A row of the database is read back as what was written; the database itself is in test_postgres.py."""

from __future__ import annotations

import json

from tests.trust.vault.test_postgres import fact, kept, part
from wellspring.records.verdict import Reason
from wellspring.trust.vault.records import (
    QuarantinedRecord,
    decode_admission_part,
    decode_outbox_entry,
    decode_quarantined_record,
    decode_reasons,
    decode_stored_drop,
    encode_reasons,
)

REASONS = (Reason(code="pattern", message="it is wrong", column="x", count=2), Reason(code="fields", message="too few"))


def test_a_drop() -> None:
    one = kept()
    row = {
        "record": json.loads(one.drop.model_dump_json()),
        "modified": one.modified,
        "original_digest": one.original_digest,
        "wrapped_key": None,
        "retention_until": one.retention_until,
    }
    assert decode_stored_drop(row) == one._replace(wrapped=None)


def test_a_part() -> None:
    one = part(rows=3)._replace(reasons=REASONS)
    row = {**one._asdict(), "drop_id": one.drop, "verdict": json.loads(one.verdict.model_dump_json())}
    assert decode_admission_part({**row, "reasons": encode_reasons(REASONS)}) == one


def test_a_waiting_row() -> None:
    one = QuarantinedRecord(7, b"sealed", REASONS, "unique", 1)
    assert (
        decode_quarantined_record({**one._asdict(), "reasons": json.loads(json.dumps(encode_reasons(REASONS)))}) == one
    )
    assert decode_reasons([]) == ()


def test_a_fact() -> None:
    one = fact("land/0")
    row = {**one._asdict(), "inputs": [ref.model_dump(mode="json") for ref in one.inputs], "outputs": []}
    assert decode_outbox_entry(row) == one
