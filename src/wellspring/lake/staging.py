"""Rows of one part of a drop on their way through the lake: what they must be, and how a snapshot remembers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.errors import Refused
from wellspring.lake.iceberg import SnapshotInfo
from wellspring.records.data import AdmissionResult, DataContract, Drop
from wellspring.records.record import Digest, Frozen
from wellspring.records.trust import Ref

if TYPE_CHECKING:
    import pyarrow as pa

SYSTEM_COLUMNS = ("drop_id", "replay_number", "tenant", "known_since")
"""The columns that the lake adds to every row; a contract may not use these names."""


class StagedPart(Frozen):
    """Rows of one part of a drop that are in the lake. published: an edition holds them; else they wait for their set.

    rows_digest: as the enclave said it, and as it was read back.
    """

    table: str
    snapshot_id: int
    drop: str
    replay_number: int
    rows: int
    rows_digest: Digest
    source: str
    contract: str
    contract_version: str
    published: bool = False

    @property
    def rows_ref(self) -> Ref:
        """Name the rows as the enclave handed them out."""
        return Ref(name=f"rows:{self.drop}/{self.replay_number}", digest=self.rows_digest)

    @property
    def snapshot_ref(self) -> Ref:
        """Name the rows as the lake holds them."""
        return Ref(name=f"snapshot:{self.table}@{self.snapshot_id}", digest=self.rows_digest)


def rows_to_stage(admission: AdmissionResult, contract: DataContract) -> pa.Table:
    """Return the rows to stage. Raises Refused when they may not be."""
    drop = admission.drop
    if admission.table is None or not admission.verdict.passed:
        raise Refused(
            f"drop {drop.id} was stopped whole", fix="ask its supplier for it anew", verdict=admission.verdict
        )
    # A replay is judged by the contract of today; the drop keeps the one that it came under.
    if drop.contract != contract.name or (drop.replay_number == 0 and drop.contract_digest != contract.digest):
        raise Refused(
            f"drop {drop.id} was admitted by {drop.contract} {drop.contract_version}, not by this {contract.name}",
            fix="stage it under the contract that admitted it",
        )
    if reserved_names := sorted(set(SYSTEM_COLUMNS) & set(admission.table.column_names)):
        raise Refused(f"the lake adds {', '.join(reserved_names)} itself", fix="rename the column in the contract")
    return admission.table


def add_system_columns(rows: pa.Table, drop: Drop) -> pa.Table:
    """Add the lake's own columns, the same for every row of a part."""
    import pyarrow as pa

    instant = pa.scalar(drop.known_since, pa.timestamp("us", tz="UTC"))
    values = (drop.id, pa.scalar(drop.replay_number, pa.int64()), drop.tenant, instant)
    for name, value in zip(SYSTEM_COLUMNS, values, strict=True):
        rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
    return rows


def sort_rows(rows: pa.Table) -> pa.Table:
    """Put rows into the order of their file."""
    import pyarrow.compute as pc

    row_numbers = rows["row_number"].combine_chunks()
    if rows.num_rows < 2 or pc.all(pc.less(row_numbers[:-1], row_numbers[1:])).as_py():
        return rows
    return rows.sort_by("row_number")


def snapshot_properties(admission: AdmissionResult, contract: DataContract) -> dict[str, str]:
    """Say what a snapshot remembers of its rows."""
    return {
        "drop": admission.drop.id,
        "replay_number": str(admission.drop.replay_number),
        "rows": str(admission.admitted),
        "rows_digest": admission.rows_digest,
        "received": str(admission.received),
        "source": admission.drop.source,
        "contract": contract.name,
        "contract_version": contract.version,
        "contract_digest": contract.digest,
    }


def from_snapshot(table: str, snapshot: SnapshotInfo, *, published: bool) -> StagedPart:
    """Read from a snapshot what `marks` wrote."""
    properties = snapshot.properties
    return StagedPart(
        table=table,
        snapshot_id=snapshot.snapshot_id,
        drop=properties["drop"],
        replay_number=int(properties["replay_number"]),
        rows=int(properties["rows"]),
        rows_digest=properties["rows_digest"],
        source=properties["source"],
        contract=properties["contract"],
        contract_version=properties["contract_version"],
        published=published,
    )
