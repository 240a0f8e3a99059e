"""The audit of read-back rows: pure, and each fault has its code."""

import pyarrow as pa
import pytest

from tests.builders import drops
from wellspring.lake.staging import system_values
from wellspring.lake.write_audit import audit_write
from wellspring.records.contracts import ContractColumn
from wellspring.records.ingestion import AdmissionResult
from wellspring.records.verdict import Verdict

CLAIMS = drops.contract()


def audit(rows: pa.Table, admission: AdmissionResult, contract: drops.DataContract) -> Verdict:
    """Audit rows in batches of two, with the system columns that the lake gave them."""
    assert admission.rows is not None
    values = system_values(admission.drop)
    stored = rows
    for name, value in values.items():
        stored = stored.append_column(name, pa.repeat(value, rows.num_rows))
    return audit_write(lambda: stored.to_reader(max_chunksize=2), admission, contract, values)


def codes(rows: pa.Table, contract: drops.DataContract = CLAIMS) -> list[str]:
    """Judge rows that hash to what was said of them, so that only the contract speaks."""
    return [reason.code for reason in audit(rows, drops.intake("a", contract, rows), contract).reasons]


def test_the_very_rows_pass():
    rows = drops.rows(3)
    assert audit(rows, drops.intake("a", CLAIMS, rows), CLAIMS).passed
    assert codes(drops.rows(0)) == []


@pytest.mark.parametrize("changed", [drops.rows(3, first=1), drops.rows(3).take([1, 0, 2])])
def test_other_rows_and_another_order_fail_by_digest(changed: pa.Table):
    verdict = audit(changed, drops.intake("a", CLAIMS, drops.rows(3)), CLAIMS)
    assert [reason.code for reason in verdict.reasons] == ["rows_digest"]


def test_a_different_row_count_is_reported():
    verdict = audit(drops.rows(2), drops.intake("a", CLAIMS, drops.rows(3)), CLAIMS)
    assert [(reason.code, reason.count) for reason in verdict.reasons] == [("row_count", 2)]


def test_a_key_of_two_columns_may_repeat_in_one_of_them_and_a_null_is_no_value():
    rows = drops.rows(2).set_column(0, "claim_id", pa.array(["x", "x"]))
    assert codes(rows) == ["key"]
    assert codes(rows, drops.contract(key=("claim_id", "service_date"))) == []
    free = drops.contract(columns=(CLAIMS.columns[0].model_copy(update={"required": False}), *CLAIMS.columns[1:]))
    assert codes(rows.set_column(0, "claim_id", pa.array([None, None], pa.string())), free) == []


def test_a_unique_column_is_judged_only_if_it_left_whole():
    def with_zip(leaves: str) -> drops.DataContract:
        zip_code = ContractColumn.model_validate(
            {"name": "zip", "type": "string", "egress": leaves, "classification": "place", "unique": True}
        )
        return drops.contract(columns=(*CLAIMS.columns, zip_code))

    rows = drops.rows(2).append_column("zip", pa.array(["021", "021"]))
    assert codes(rows, with_zip("plain")) == ["unique"]
    assert codes(rows, with_zip("prefix(3)")) == []


def test_a_row_of_another_drop_is_reported():
    rows = drops.rows(3)
    admission = drops.intake("a", CLAIMS, rows)
    values = system_values(admission.drop)
    other_values = {**values, "drop_id": pa.scalar("clearinghouse-other")}
    stored = rows
    for name, value in values.items():
        other_value = pa.repeat(other_values[name], 1)
        stored = stored.append_column(name, pa.chunked_array([pa.repeat(value, 2), other_value]))
    verdict = audit_write(lambda: stored.to_reader(max_chunksize=2), admission, CLAIMS, values)
    assert [(reason.code, reason.column, reason.count) for reason in verdict.reasons] == [
        ("system_column", "drop_id", 1)
    ]


def test_versions_of_one_key_differ_in_recorded_at():
    recorded = ContractColumn(
        name="recorded_at", type="timestamp[us, tz=UTC]", egress="plain", classification="operational"
    )
    versioned = drops.contract(key=("claim_id",))
    versioned = versioned.model_copy(update={"columns": (*versioned.columns, recorded)})
    rows = pa.concat_tables([drops.rows(1), drops.rows(1)])
    for instants, expected in (([1, 2], []), ([1, 1], ["key"])):
        stored = rows.append_column("recorded_at", pa.array(instants, pa.timestamp("us", "UTC")))
        assert codes(stored, versioned) == expected
