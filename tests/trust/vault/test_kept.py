"""A row of the database is read back as what was written; the database itself is in test_postgres.py."""

from __future__ import annotations

import json

from tests.trust.vault.test_postgres import fact, kept, part
from wellspring.records.verdict import Reason
from wellspring.trust.vault.kept import Waiting, fact_in, kept_in, part_in, reasons_in, reasons_out, waiting_in

REASONS = (Reason(code="pattern", what="it is wrong", column="x", count=2), Reason(code="fields", what="too few"))


def test_a_drop() -> None:
    one = kept()
    row = {
        "record": json.loads(one.drop.model_dump_json()),
        "modified": one.modified,
        "original_digest": one.original_digest,
        "wrapped_key": None,
        "retention_until": one.retention_until,
    }
    assert kept_in(row) == one._replace(wrapped=None)


def test_a_part() -> None:
    one = part(rows=3)._replace(reasons=REASONS)
    row = {**one._asdict(), "drop_id": one.drop, "verdict": json.loads(one.verdict.model_dump_json())}
    assert part_in({**row, "reasons": reasons_out(REASONS)}) == one


def test_a_waiting_row() -> None:
    one = Waiting(7, b"sealed", REASONS, "unique", 1)
    assert waiting_in({**one._asdict(), "reasons": json.loads(json.dumps(reasons_out(REASONS)))}) == one
    assert reasons_in([]) == ()


def test_a_fact() -> None:
    one = fact("land/0")
    row = {**one._asdict(), "inputs": [ref.model_dump(mode="json") for ref in one.inputs], "outputs": []}
    assert fact_in(row) == one
