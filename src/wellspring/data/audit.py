"""Read-back rows against what the enclave said of them: count, digest, and the contract once more, on the tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.data import digest
from wellspring.records.verdict import Reason, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.records.data import Contract, Intake

WHOLE = frozenset({"as_is", "token"})
"""How a column may leave and still tell two values apart; a year or three digits of a postcode do not."""


def audit(rows: pa.Table, intake: Intake, contract: Contract) -> Verdict:
    """Judge rows as they were read back from the lake, in the order of the file; pure."""
    reasons = [*_same_rows(rows, intake), *_keeps(rows, contract)]
    return Verdict(subject=intake.drop.subject, outcome="fail" if reasons else "pass", reasons=tuple(reasons))


def _same_rows(rows: pa.Table, intake: Intake) -> list[Reason]:
    if rows.num_rows != intake.admitted:
        return [Reason(code="row_count", what="the lake holds another number of rows", count=rows.num_rows)]
    if digest.rows(rows) != intake.rows_digest:
        return [Reason(code="rows_digest", what="the rows in the lake do not hash to what the enclave said")]
    return []


def _keeps(rows: pa.Table, contract: Contract) -> list[Reason]:
    reasons: list[Reason] = []
    for column in contract.columns:
        if column.name not in rows.column_names:
            if column.leaves != "never":
                reasons.append(Reason(code="missing_column", what="a column is missing", column=column.name))
            continue
        if column.leaves == "never":
            reasons.append(Reason(code="never_leaves", what="a column is there that never leaves", column=column.name))
        if column.required and (nulls := rows[column.name].null_count):
            reasons.append(Reason(code="required", what="a required column is empty", column=column.name, count=nulls))
        if column.unique and column.leaves in WHOLE and (twice := _repeated(rows, (column.name,))):
            reasons.append(Reason(code="unique", what="a unique column repeats", column=column.name, count=twice))
    for name in sorted(set(rows.column_names) - {column.name for column in contract.columns} - {"row_number"}):
        reasons.append(Reason(code="undeclared", what="a column is there that the contract does not name", column=name))
    leaves = {column.name: column.leaves for column in contract.columns}
    if contract.key and all(leaves.get(name) in WHOLE and name in rows.column_names for name in contract.key):
        if twice := _repeated(rows, contract.key):
            reasons.append(Reason(code="key", what="a key appears twice in one drop", count=twice))
    return reasons


def _repeated(rows: pa.Table, columns: tuple[str, ...]) -> int:
    """Count rows whose values in these columns stood before; a null is no value."""
    whole = rows.select(list(columns)).drop_null()
    return whole.num_rows - whole.group_by(list(columns)).aggregate([]).num_rows
