"""A row of the database is read back as what was written; the database itself is in test_postgres.py."""

from __future__ import annotations

import json

from tests.builders.vault_records import part, stored
from wellspring.records.verdict import Reason
from wellspring.trust.vault.records import (
    QuarantinedRecord,
    decode_admission_part,
    decode_quarantined_record,
    decode_reasons,
    decode_stored_drop,
    encode_reasons,
)

REASONS = (Reason(code="pattern", message="it is wrong", column="x", count=2), Reason(code="fields", message="too few"))


def test_a_drop() -> None:
    item = stored()
    row = {
        "record": json.loads(item.drop.model_dump_json()),
        "modified": item.modified,
        "original_digest": item.original_digest,
        "wrapped_key": None,
        "retention_until": item.retention_until,
        "identity": item.identity,
        "withdrawn_at": None,
        "rejudgements": 0,
    }
    assert decode_stored_drop(row) == item._replace(wrapped_key=None)
    row |= {"withdrawn_at": item.modified, "rejudgements": 2}
    assert decode_stored_drop(row) == item._replace(wrapped_key=None, withdrawn=True, rejudgements=2)


def test_an_admission() -> None:
    item = part(rows=3)
    row = {**item._asdict(), "drop_id": item.drop, "counts": json.loads(item.counts.model_dump_json())}
    assert decode_admission_part(row) == item


def test_a_quarantined_row() -> None:
    item = QuarantinedRecord(7, b"sealed", REASONS, 1)
    assert (
        decode_quarantined_record({**item._asdict(), "reasons": json.loads(json.dumps(encode_reasons(REASONS)))})
        == item
    )
    assert decode_reasons([]) == ()
