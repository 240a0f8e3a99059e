"""Audit of written rows: compares the rows read back with the enclave's row count, row digest and the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.lake import table_hash
from wellspring.records.verdict import Reason, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.records.contracts import DataContract
    from wellspring.records.ingestion import AdmissionResult

INJECTIVE_EGRESS = frozenset({"plain", "token"})
"""Egress kinds that keep distinct values distinct; a year or a prefix does not."""


def audit_write(rows: pa.Table, admission: AdmissionResult, contract: DataContract) -> Verdict:
    """Validate rows read back from the lake, in the order of their source file; a pure function."""
    reasons = [*_check_row_digest(rows, admission), *_check_contract(rows, contract)]
    return Verdict(subject=admission.drop.subject, outcome="fail" if reasons else "pass", reasons=tuple(reasons))


def _check_row_digest(rows: pa.Table, admission: AdmissionResult) -> list[Reason]:
    if rows.num_rows != admission.counts.admitted:
        return [Reason(code="row_count", message="the number of rows in the lake differs", count=rows.num_rows)]
    if table_hash.hash_rows(rows) != admission.counts.rows_digest:
        return [Reason(code="rows_digest", message="the digest of the rows in the lake differs")]
    return []


def _check_contract(rows: pa.Table, contract: DataContract) -> list[Reason]:
    reasons: list[Reason] = []
    for column in contract.columns:
        if column.name not in rows.column_names:
            if column.egress != "never":
                reasons.append(Reason(code="missing_column", message="a column is missing", column=column.name))
            continue
        if column.egress == "never":
            reasons.append(
                Reason(code="never_egress", message="a column with egress 'never' is present", column=column.name)
            )
        if column.required and (nulls := rows[column.name].null_count):
            reasons.append(
                Reason(code="required", message="a required column has nulls", column=column.name, count=nulls)
            )
        if (
            column.unique
            and column.egress in INJECTIVE_EGRESS
            and (duplicates := _count_duplicates(rows, (column.name,)))
        ):
            reasons.append(
                Reason(code="unique", message="a unique column has duplicates", column=column.name, count=duplicates)
            )
    for name in sorted(set(rows.column_names) - {column.name for column in contract.columns} - {"row_number"}):
        reasons.append(Reason(code="undeclared", message="a column is not declared in the contract", column=name))
    egress_by_column = {column.name: column.egress for column in contract.columns}
    if contract.key and all(
        egress_by_column.get(name) in INJECTIVE_EGRESS and name in rows.column_names for name in contract.key
    ):
        if duplicates := _count_duplicates(rows, contract.key):
            reasons.append(Reason(code="key", message="a key occurs more than once in one drop", count=duplicates))
    return reasons


def _count_duplicates(rows: pa.Table, columns: tuple[str, ...]) -> int:
    """Count rows that repeat the values of an earlier row in these columns; rows with a null are ignored."""
    complete_rows = rows.select(list(columns)).drop_null()
    return complete_rows.num_rows - complete_rows.group_by(list(columns)).aggregate([]).num_rows
