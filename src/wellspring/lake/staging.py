"""Staging of one part of a drop: the rows to stage, the system columns, and the properties of the staged snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from wellspring.errors import Refused
from wellspring.lake.port import Snapshot
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import AdmissionResult, Drop
from wellspring.records.record import Digest, Frozen
from wellspring.records.trust import Ref

if TYPE_CHECKING:
    import pyarrow as pa

SYSTEM_COLUMNS = ("drop_id", "replay_number", "tenant", "known_since")
"""Columns that the lake adds to every row; a contract must not use these names."""


class StagedPart(Frozen):
    """The rows of one part of a drop in the lake: published in an edition, or staged until their set is complete.

    rows_digest: reported by the enclave and verified by reading the rows back.
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
        """Return a reference to the rows as the enclave returned them."""
        return Ref(name=f"rows:{self.drop}/{self.replay_number}", digest=self.rows_digest)

    @property
    def snapshot_ref(self) -> Ref:
        """Return a reference to the rows as stored in the lake."""
        return Ref(name=f"snapshot:{self.table}@{self.snapshot_id}", digest=self.rows_digest)


def rows_to_stage(admission: AdmissionResult, contract: DataContract) -> pa.Table:
    """Return the rows to stage. Raises Refused for a rejected drop, another contract or a reserved column name."""
    drop = admission.drop
    if admission.table is None or not admission.counts.verdict.passed:
        raise Refused(
            f"drop {drop.id} was rejected as a whole",
            fix="ask the supplier for a new file",
            verdict=admission.counts.verdict,
        )
    # A replay is validated by the current contract; the drop still names the contract of its first admission.
    if drop.contract != contract.name or (drop.replay_number == 0 and drop.contract_digest != contract.digest):
        raise Refused(
            f"drop {drop.id} was admitted under another contract: {drop.contract} {drop.contract_version}",
            fix="stage it under the contract that admitted it",
        )
    if reserved_names := sorted(set(SYSTEM_COLUMNS) & set(admission.table.column_names)):
        raise Refused(
            f"column name {', '.join(reserved_names)} is reserved for the lake", fix="rename the column in the contract"
        )
    return admission.table


def add_system_columns(rows: pa.Table, drop: Drop) -> pa.Table:
    """Add the system columns; their values are equal for all rows of a part."""
    import pyarrow as pa

    instant = pa.scalar(drop.known_since, pa.timestamp("us", tz="UTC"))
    values = (drop.id, pa.scalar(drop.replay_number, pa.int64()), drop.tenant, instant)
    for name, value in zip(SYSTEM_COLUMNS, values, strict=True):
        rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
    return rows


def sort_rows(rows: pa.Table) -> pa.Table:
    """Sort rows into the order of their source file."""
    import pyarrow.compute as pc

    row_numbers = rows["row_number"].combine_chunks()
    if rows.num_rows < 2 or pc.all(pc.less(row_numbers[:-1], row_numbers[1:])).as_py():
        return rows
    return rows.sort_by("row_number")


def snapshot_properties(admission: AdmissionResult, contract: DataContract) -> dict[str, str]:
    """Return the snapshot properties that describe the staged rows."""
    return {
        "drop": admission.drop.id,
        "replay_number": str(admission.drop.replay_number),
        "rows": str(admission.counts.admitted),
        "rows_digest": admission.counts.rows_digest,
        "received": str(admission.counts.received),
        "source": admission.drop.source,
        "contract": contract.name,
        "contract_version": contract.version,
        "contract_digest": contract.digest,
    }


def staged_part_from_snapshot(table: str, snapshot: Snapshot, *, published: bool) -> StagedPart:
    """Rebuild a staged part from the properties that `snapshot_properties` wrote."""
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


def count_rows_by_table(parts: Sequence[StagedPart]) -> dict[str, JsonValue]:
    """Count the rows of parts by table."""
    return {name: sum(part.rows for part in parts if part.table == name) for name in {part.table for part in parts}}


def refuse_stale_parts(name: str, stale_parts: Sequence[StagedPart]) -> None:
    """Raise Refused that names the drops of a table's stale parts, when there are any."""
    if stale_parts:
        drops = ", ".join(dict.fromkeys(part.drop for part in stale_parts))
        raise Refused(
            f"staged drops of {name} do not descend from its published rows; stage them again: {drops}",
            fix="run `wellspring ingest` again",
        )
