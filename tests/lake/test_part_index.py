"""Parts are found by drop, and waiting parts are divided into pieces that one ledger entry can name."""

import json
from pathlib import Path

import pytest

from tests.builders import drops
from tests.builders.recording_step import RecordingStep
from wellspring.lake import lake as lake_module
from wellspring.lake.lake import Lake
from wellspring.lake.part_index import PartIndex, divide_parts
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


def test_a_part_is_found_by_drop_and_an_edition_that_names_a_drop_has_its_first_part():
    waiting, published = staged_part(2), staged_part(4, published=True)
    index = PartIndex([waiting, published], {"vendor-old"})
    assert index.find_part(waiting.drop, 0) == waiting
    assert (index.has_part(waiting.drop, 0), index.has_part(waiting.drop, 1)) == (True, False)
    assert (index.has_part("vendor-old", 0), index.has_part("vendor-old", 1)) == (True, False)
    assert (index.count_drop_rows(waiting.drop), index.count_drop_rows(published.drop)) == ((0, 2), (4, 0))
    assert index.count_drop_rows("vendor-none") == (0, 0)


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


def test_parts_are_listed_in_the_order_of_staging_over_all_tables(lake: Lake, step: RecordingStep):
    staged = [
        lake.stage_part(drops.intake(f"f{number}", contract, drops.rows(1, first=number)), contract, step=step)
        for number, contract in enumerate([*CONTRACTS, *CONTRACTS[::-1]])
    ]
    assert lake.staged_parts() == tuple(staged)


def test_a_state_of_the_lake_is_read_once(lake: Lake, step: RecordingStep, monkeypatch: pytest.MonkeyPatch):
    for number in range(3):
        contract = CONTRACTS[number]
        lake.stage_part(drops.intake(f"f{number}", contract, drops.rows(1)), contract, step=step)
    lake.publish("clearinghouse", lake.staged_parts(), step=step)
    drop = drops.intake("f1", CONTRACTS[1], drops.rows(1)).drop.id
    listed: list[str] = []
    list_parts = lake_module.Lake._list_parts
    monkeypatch.setattr(lake_module.Lake, "_list_parts", lambda *args: listed.append(args[1].name) or list_parts(*args))
    for _ in range(20):
        assert lake.has_part(drop, 0)
        assert lake.count_drop_rows(drop) == (1, 0)
    assert len(listed) <= 3
    listed.clear()
    lake.stage_part(drops.intake("more", CONTRACTS[0], drops.rows(1, first=9)), CONTRACTS[0], step=step)
    assert len(lake.staged_parts()) == 1
    assert set(listed) == {"medical_claim"}, "only the table that changed is listed again"
