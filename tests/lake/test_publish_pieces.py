"""Waiting parts are divided into pieces that one ledger entry can name."""

import json
from pathlib import Path

import pytest

from tests.builders import drops
from tests.builders.recording_step import RecordingStep
from wellspring.lake.publish_pieces import divide_parts
from wellspring.lake.staging import StagedPart
from wellspring.trust.ledger.journal import MAX_ENTRY_BYTES, encode_entry

CONTRACTS = [drops.contract(name) for name in ("medical_claim", "eligibility", "payment")]


def staged_part(number: int, *, source: str = "vendor", table: str = "claim", published: bool = False) -> StagedPart:
    return StagedPart(
        table=table,
        snapshot_id=2**62 + number,
        drop=f"{source}-{number:012x}",
        replay_number=number % 2,
        rows=number,
        rows_digest="5a" * 32,
        source=source,
        contract=table,
        contract_version="1.0.0",
        published=published,
    )


def test_pieces_have_at_most_a_hundred_parts_in_their_order():
    parts = [staged_part(number) for number in range(250)]
    pieces = list(divide_parts(parts))
    assert [len(piece) for piece in pieces] == [100, 100, 50]
    assert [part for piece in pieces for part in piece] == parts
    assert list(divide_parts([])) == []


@pytest.mark.parametrize("source", ["vendor", "v" * 400, "\u00e9" * 120])
def test_an_entry_stays_below_the_limit_of_the_ledger_also_with_long_names(source: str, tmp_path: Path):
    step = RecordingStep()
    names = [f"table_{number}_{'t' * 90}" for number in range(40)]
    parts = [staged_part(number, source=source, table=names[number % 40]) for number in range(300)]
    pieces = list(divide_parts(parts, names))
    assert [part for piece in pieces for part in piece] == parts
    for piece in pieces:
        facts = {
            "drops": [part.drop for part in piece],
            "rows": dict.fromkeys(names, 2**53 - 1),
            "tables": dict.fromkeys(names, str(2**63)),
            "added": dict.fromkeys(names, 2**53 - 1),
            "source": source,
        }
        entry = step.write(
            "publish",
            "done",
            "edition:0123456789ab",
            intent="0" * 40,
            inputs=[part.rows_ref for part in piece],
            outputs=[part.snapshot_ref for part in piece],
            facts=json.loads(json.dumps(facts)),
        )
        assert len(encode_entry(entry)) <= MAX_ENTRY_BYTES, "and it is not refused"
