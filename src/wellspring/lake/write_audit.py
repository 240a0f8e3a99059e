"""Audit of written rows: compares the rows read back with the enclave's row count, row digest and the contract.

The rows are read batch by batch. Memory grows by 8 bytes per row for each key or unique column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from wellspring.lake.duplicates import DuplicateCounter
from wellspring.lake.table_hash import RowHasher
from wellspring.records.verdict import Reason, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.records.contracts import DataContract
    from wellspring.records.ingestion import AdmissionResult

INJECTIVE_EGRESS = frozenset({"plain", "token"})
"""Egress kinds that keep distinct values distinct; a year or a prefix does not."""


def audit_write(
    read_rows: Callable[[], pa.RecordBatchReader],
    admission: AdmissionResult,
    contract: DataContract,
    system_values: Mapping[str, pa.Scalar],
) -> Verdict:
    """Validate rows read back from the lake, in the order of their source file.

    read_rows: reads the rows from storage; called again when duplicates are to be counted. system_values: the one value
    of each system column.
    """
    rows = read_rows()
    names = [name for name in rows.schema.names if name not in system_values]
    hasher = RowHasher(_select_schema(rows.schema, names))
    counters = _duplicate_counters(names, contract)
    row_count = 0
    nulls = {column.name: 0 for column in contract.columns if column.required and column.name in names}
    wrong_system_values = dict.fromkeys(system_values, 0)
    for batch in rows:
        row_count += batch.num_rows
        for name, value in system_values.items():
            wrong_system_values[name] += _count_other_values(batch, name, value)
        data = batch.select(names)
        hasher.update(data)
        for name in nulls:
            nulls[name] += data.column(name).null_count
        for counter in counters.values():
            counter.update(data)
    reasons = [
        Reason(code="system_column", message="a system column has another value", column=name, count=count)
        for name, count in wrong_system_values.items()
        if count
    ]
    if row_count != admission.counts.admitted:
        reasons.append(Reason(code="row_count", message="the number of rows in the lake differs", count=row_count))
    elif hasher.hexdigest() != admission.counts.rows_digest:
        reasons.append(Reason(code="rows_digest", message="the digest of the rows in the lake differs"))
    duplicates = {columns: counter.count_duplicates(read_rows) for columns, counter in counters.items()}
    reasons += _check_contract(names, nulls, duplicates, contract)
    return Verdict(subject=admission.drop.subject, outcome="fail" if reasons else "pass", reasons=tuple(reasons))


def _select_schema(schema: pa.Schema, names: list[str]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([schema.field(name) for name in names])


def _count_other_values(batch: pa.RecordBatch, name: str, value: pa.Scalar) -> int:
    """Count the rows in which a column is missing, null or has another value."""
    import pyarrow.compute as pc

    if name not in batch.schema.names:
        return batch.num_rows
    return batch.num_rows - (pc.sum(pc.equal(batch.column(name), value)).as_py() or 0)


def _duplicate_counters(names: list[str], contract: DataContract) -> dict[tuple[str, ...], DuplicateCounter]:
    """Return a counter for the key and for each unique column whose distinct values are distinct in the lake."""
    injective = {column.name for column in contract.columns if column.egress in INJECTIVE_EGRESS} & set(names)
    # Versions of one row share the values of its unique columns.
    has_versions = bool(contract.key) and contract.ordering_column is not None
    column_sets: list[tuple[str, ...]] = [
        (column.name,) for column in contract.columns if column.unique and column.name in injective and not has_versions
    ]
    if contract.key and injective.issuperset(contract.key):
        column_sets.append(_version_key(contract))
    return {columns: DuplicateCounter(columns) for columns in dict.fromkeys(column_sets)}


def _version_key(contract: DataContract) -> tuple[str, ...]:
    """Return the columns whose combination is unique in one drop: the key, and what orders its versions."""
    ordering = contract.ordering_column
    return contract.key if ordering is None or ordering in contract.key else (*contract.key, ordering)


def _check_contract(
    names: list[str],
    nulls: Mapping[str, int],
    duplicates: Mapping[tuple[str, ...], int],
    contract: DataContract,
) -> list[Reason]:
    reasons: list[Reason] = []
    for column in contract.columns:
        if column.name not in names:
            if column.egress != "never":
                reasons.append(Reason(code="missing_column", message="a column is missing", column=column.name))
            continue
        if column.egress == "never":
            reasons.append(
                Reason(code="never_egress", message="a column with egress 'never' is present", column=column.name)
            )
        if count := nulls.get(column.name):
            reasons.append(
                Reason(code="required", message="a required column has nulls", column=column.name, count=count)
            )
        if column.unique and (count := duplicates.get((column.name,))):
            reasons.append(
                Reason(code="unique", message="a unique column has duplicates", column=column.name, count=count)
            )
    for name in sorted(set(names) - {column.name for column in contract.columns} - {"row_number"}):
        reasons.append(Reason(code="undeclared", message="a column is not declared in the contract", column=name))
    if contract.key and (count := duplicates.get(_version_key(contract))):
        reasons.append(Reason(code="key", message="a key occurs more than once in one drop", count=count))
    return reasons
