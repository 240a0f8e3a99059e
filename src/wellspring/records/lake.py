"""Define the records of the lake: snapshots of tables, and editions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import PlainSerializer

from wellspring.records.record import Frozen, Record

SnapshotId = Annotated[int, PlainSerializer(str, when_used="json")]
"""A 63-bit integer, written to JSON as text because a JSON number holds 53 bits."""


class TableSnapshot(Frozen):
    """One Iceberg snapshot of a table. rows: row count of the whole table at that snapshot.

    files: digest of the list of its data files with their SHA-256; '' for a snapshot that pins none.
    """

    table: str
    snapshot_id: SnapshotId
    rows: int
    files: str = ""


class Edition(Record):
    """A consistent set of snapshots, one per table. id: 12 hex of the SHA-256 of its own JSON.

    level: landed (source tables) or built (the same snapshots plus marts). drops: ids that this edition added.
    """

    id: str
    level: Literal["landed", "built"]
    parent: str | None
    tables: tuple[TableSnapshot, ...]
    drops: tuple[str, ...]

    @property
    def subject(self) -> str:
        return f"edition:{self.id}"
