"""Rows of one part: what they must be before the lake takes them, and what a snapshot remembers of them."""

import pyarrow as pa
import pytest

from tests.builders import drops
from wellspring.errors import Refused
from wellspring.lake.port import Snapshot
from wellspring.lake.staging import (
    SYSTEM_COLUMNS,
    add_system_columns,
    rows_to_stage,
    snapshot_properties,
    staged_part_from_snapshot,
)

CLAIMS = drops.contract()


def test_what_a_snapshot_remembers_is_what_was_staged():
    intake = drops.intake("a", CLAIMS, drops.rows(3), part=2)
    staged = staged_part_from_snapshot(
        "medical_claim", Snapshot(7, snapshot_properties(intake, CLAIMS), 9), published=True
    )
    assert (staged.drop, staged.replay_number, staged.rows, staged.rows_digest) == (
        intake.drop.id,
        2,
        3,
        intake.counts.rows_digest,
    )
    assert (staged.source, staged.contract, staged.published) == ("clearinghouse", "medical_claim", True)
    assert staged.rows_ref.name == f"rows:{intake.drop.id}/2"
    assert staged.snapshot_ref.name == "snapshot:medical_claim@7"


@pytest.mark.parametrize("name", SYSTEM_COLUMNS)
def test_a_contract_never_takes_a_column_of_the_lakes_own(name: str):
    rows = drops.rows(1).append_column(name, pa.array(["x"]))
    with pytest.raises(Refused, match=name):
        rows_to_stage(drops.intake("a", CLAIMS, rows), CLAIMS)


def test_a_replay_may_come_under_the_contract_of_today():
    today = CLAIMS.model_copy(update={"digest": "0" * 64})
    assert rows_to_stage(drops.intake("a", CLAIMS, drops.rows(1), part=1), today).read_all().num_rows == 1
    with pytest.raises(Refused):
        rows_to_stage(drops.intake("a", CLAIMS, drops.rows(1), part=1), drops.contract("eligibility"))


def test_each_batch_gets_the_lakes_columns():
    admission = drops.intake("a", CLAIMS, drops.rows(2500))
    assert admission.rows is not None
    batches = list(add_system_columns(admission.rows, admission.drop))
    assert [batch.num_rows for batch in batches] == [1000, 1000, 500]
    assert batches[0].schema.names == [*drops.rows(0).column_names, *SYSTEM_COLUMNS]
    assert {value for batch in batches for value in batch["drop_id"].to_pylist()} == {admission.drop.id}
