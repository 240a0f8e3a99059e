"""Rows of one part of a drop on their way through the lake: what they must be, and how a snapshot remembers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.data.iceberg import Link
from wellspring.errors import Refused
from wellspring.records.data import Contract, Drop, Intake
from wellspring.records.record import Digest, Frozen
from wellspring.records.trust import Ref

if TYPE_CHECKING:
    import pyarrow as pa

OURS = ("drop_id", "part", "tenant", "known_since")
"""The columns that the lake adds to every row; a contract may not use these names."""


class Staged(Frozen):
    """Rows of one part of a drop that are in the lake. published: an edition holds them; else they wait for their set.

    rows_digest: as the enclave said it, and as it was read back.
    """

    table: str
    snapshot_id: int
    drop: str
    part: int
    rows: int
    rows_digest: Digest
    source: str
    contract: str
    contract_version: str
    published: bool = False

    @property
    def ref(self) -> Ref:
        """Name the rows as the enclave handed them out."""
        return Ref(name=f"rows:{self.drop}/{self.part}", digest=self.rows_digest)

    @property
    def snapshot_ref(self) -> Ref:
        """Name the rows as the lake holds them."""
        return Ref(name=f"snapshot:{self.table}@{self.snapshot_id}", digest=self.rows_digest)


def expected(intake: Intake, contract: Contract) -> pa.Table:
    """Return the rows to stage. Raises Refused when they may not be."""
    drop = intake.drop
    if intake.table is None or not intake.verdict.passed:
        raise Refused(f"drop {drop.id} was stopped whole", fix="ask its supplier for it anew", verdict=intake.verdict)
    # A replay is judged by the contract of today; the drop keeps the one that it came under.
    if drop.contract != contract.name or (drop.part == 0 and drop.contract_digest != contract.digest):
        raise Refused(
            f"drop {drop.id} was admitted by {drop.contract} {drop.contract_version}, not by this {contract.name}",
            fix="stage it under the contract that admitted it",
        )
    if taken := sorted(set(OURS) & set(intake.table.column_names)):
        raise Refused(f"the lake adds {', '.join(taken)} itself", fix="rename the column in the contract")
    return intake.table


def with_ours(rows: pa.Table, drop: Drop) -> pa.Table:
    """Add the lake's own columns, the same for every row of a part."""
    import pyarrow as pa

    instant = pa.scalar(drop.known_since, pa.timestamp("us", tz="UTC"))
    values = (drop.id, pa.scalar(drop.part, pa.int64()), drop.tenant, instant)
    for name, value in zip(OURS, values, strict=True):
        rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
    return rows


def in_order(rows: pa.Table) -> pa.Table:
    """Put rows into the order of their file."""
    import pyarrow.compute as pc

    places = rows["row_number"].combine_chunks()
    if rows.num_rows < 2 or pc.all(pc.less(places[:-1], places[1:])).as_py():
        return rows
    return rows.sort_by("row_number")


def marks(intake: Intake, contract: Contract) -> dict[str, str]:
    """Say what a snapshot remembers of its rows."""
    return {
        "drop": intake.drop.id,
        "part": str(intake.drop.part),
        "rows": str(intake.admitted),
        "rows_digest": intake.rows_digest,
        "received": str(intake.received),
        "source": intake.drop.source,
        "contract": contract.name,
        "contract_version": contract.version,
        "contract_digest": contract.digest,
    }


def from_link(table: str, link: Link, *, published: bool) -> Staged:
    """Read from a snapshot what `marks` wrote."""
    said = link.marks
    return Staged(
        table=table,
        snapshot_id=link.snapshot_id,
        drop=said["drop"],
        part=int(said["part"]),
        rows=int(said["rows"]),
        rows_digest=said["rows_digest"],
        source=said["source"],
        contract=said["contract"],
        contract_version=said["contract_version"],
        published=published,
    )
