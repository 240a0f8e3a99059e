"""Index of the parts of all landed tables by drop, and the division of waiting parts into publishable pieces."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from wellspring.lake.staging import StagedPart
from wellspring.trust.ledger.journal import MAX_ENTRY_BYTES

MAX_PARTS_PER_EDITION = 100
"""Maximum number of parts that one edition publishes."""
MAX_PUBLISH_BYTES = MAX_ENTRY_BYTES - 4096
"""Bytes for the parts and tables of a publish entry; the rest is for its ids, instants and names."""
_TABLE_BYTES = 80


class DropRowCount(NamedTuple):
    """Number of published and of staged rows of one drop, over all its parts."""

    published: int
    waiting: int


class PartIndex:
    """The parts of all landed tables at one state of the lake.

    parts: of each table, the oldest first. edition_drops: the drops that editions name.
    """

    def __init__(self, parts: Iterable[StagedPart], edition_drops: Collection[str]) -> None:
        self._edition_drops = edition_drops
        self._parts_by_drop: dict[str, list[StagedPart]] = {}
        self._tables_with_rows: set[str] = set()
        for part in parts:
            self._parts_by_drop.setdefault(part.drop, []).append(part)
            if part.rows:
                self._tables_with_rows.add(part.table)

    def find_part(self, drop: str, replay_number: int) -> StagedPart | None:
        """Return a part of a drop, or None when it is not in the lake."""
        parts = self._parts_by_drop.get(drop, ())
        return next((part for part in parts if part.replay_number == replay_number), None)

    def has_rows(self, table: str) -> bool:
        """Return whether a table has rows, staged or published."""
        return table in self._tables_with_rows

    def has_part(self, drop: str, replay_number: int) -> bool:
        """Return whether a part of a drop is in the lake, staged or published."""
        # Editions outlive the snapshots of a compacted table; they name whole drops.
        in_edition = replay_number == 0 and drop in self._edition_drops
        return in_edition or self.find_part(drop, replay_number) is not None

    def count_drop_rows(self, drop: str) -> DropRowCount:
        """Count the rows of a drop over all its parts."""
        parts = self._parts_by_drop.get(drop, ())
        published = sum(part.rows for part in parts if part.published)
        return DropRowCount(published=published, waiting=sum(part.rows for part in parts) - published)


def divide_parts(parts: Sequence[StagedPart], table_names: Iterable[str] = ()) -> Iterator[list[StagedPart]]:
    """Divide waiting parts, in their order, into pieces that one publish entry can name.

    table_names: the tables of the latest edition, which each entry names too. A piece has at most
    MAX_PARTS_PER_EDITION parts and its entry at most MAX_PUBLISH_BYTES.
    """
    tables_size = sum(map(_table_size, {*table_names, *(part.table for part in parts)}))
    piece: list[StagedPart] = []
    piece_size = tables_size
    for part in parts:
        size = _part_size(part)
        if piece and (len(piece) == MAX_PARTS_PER_EDITION or piece_size + size > MAX_PUBLISH_BYTES):
            yield piece
            piece, piece_size = [], tables_size
        piece.append(part)
        piece_size += size
    if piece:
        yield piece


def _table_size(name: str) -> int:
    """Return the bytes of a table's name in three maps, with a row count twice and a snapshot id."""
    return 3 * len(json.dumps(name)) + _TABLE_BYTES


def _part_size(part: StagedPart) -> int:
    refs = [part.rows_ref.model_dump(mode="json"), part.snapshot_ref.model_dump(mode="json")]
    # With escapes the text is never shorter than in the entry, which has none.
    return len(json.dumps([*refs, part.drop]))
