"""Staging of one part of a drop: the rows to stage, the system columns, and the properties of the staged snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from wellspring.errors import Refused
from wellspring.lake.file_pins import FILES_PROPERTY
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

    rows_digest: reported by the enclave and verified by reading the rows back. files: digest of the list of its files.
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
    files: str = ""

    @property
    def rows_ref(self) -> Ref:
        """Return a reference to the rows as the enclave returned them."""
        return Ref(name=f"rows:{self.drop}/{self.replay_number}", digest=self.rows_digest)

    @property
    def snapshot_ref(self) -> Ref:
        """Return a reference to the rows as stored in the lake."""
        return Ref(name=f"snapshot:{self.table}@{self.snapshot_id}", digest=self.rows_digest)


def rows_to_stage(admission: AdmissionResult, contract: DataContract) -> pa.RecordBatchReader:
    """Return the rows to stage. Raises Refused for a rejected drop, another contract or a reserved column name."""
    drop = admission.drop
    if admission.rows is None or not admission.counts.verdict.passed:
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
    if reserved_names := sorted(set(SYSTEM_COLUMNS) & set(admission.rows.schema.names)):
        raise Refused(
            f"column name {', '.join(reserved_names)} is reserved for the lake", fix="rename the column in the contract"
        )
    return admission.rows


def system_values(drop: Drop) -> dict[str, pa.Scalar]:
    """Return the value of each system column, which is equal for all rows of a part."""
    import pyarrow as pa

    instant = pa.scalar(drop.known_since, pa.timestamp("us", tz="UTC"))
    values = (pa.scalar(drop.id), pa.scalar(drop.replay_number, pa.int64()), pa.scalar(drop.tenant), instant)
    return dict(zip(SYSTEM_COLUMNS, values, strict=True))


def add_system_columns(rows: pa.RecordBatchReader, drop: Drop) -> pa.RecordBatchReader:
    """Add the system columns to each batch."""
    import pyarrow as pa

    values = system_values(drop)
    schema = pa.schema([*rows.schema, *(pa.field(name, value.type) for name, value in values.items())])

    def add_columns() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            added = [pa.repeat(value, batch.num_rows) for value in values.values()]
            yield pa.record_batch([*batch.columns, *added], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, add_columns())


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
        files=properties.get(FILES_PROPERTY, ""),
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
