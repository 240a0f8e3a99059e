"""The audit of read-back rows: pure, and each fault has its code."""

import pyarrow as pa
import pytest

from tests.builders import drops
from wellspring.lake.write_audit import audit_write
from wellspring.records.contracts import ContractColumn

CLAIMS = drops.contract()


def codes(rows: pa.Table, contract: drops.DataContract = CLAIMS) -> list[str]:
    """Judge rows that hash to what was said of them, so that only the contract speaks."""
    return [reason.code for reason in audit_write(rows, drops.intake("a", contract, rows), contract).reasons]


def test_the_very_rows_pass():
    rows = drops.rows(3)
    assert audit_write(rows, drops.intake("a", CLAIMS, rows), CLAIMS).passed
    assert codes(drops.rows(0)) == []


@pytest.mark.parametrize("changed", [drops.rows(3, first=1), drops.rows(3).take([1, 0, 2])])
def test_other_rows_and_another_order_fail_by_digest(changed: pa.Table):
    verdict = audit_write(changed, drops.intake("a", CLAIMS, drops.rows(3)), CLAIMS)
    assert [reason.code for reason in verdict.reasons] == ["rows_digest"]


def test_a_different_row_count_is_reported():
    verdict = audit_write(drops.rows(2), drops.intake("a", CLAIMS, drops.rows(3)), CLAIMS)
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
