"""The division of waiting parts into pieces that one publish entry can name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from wellspring.lake.staging import StagedPart
from wellspring.trust.ledger.journal import MAX_ENTRY_BYTES

MAX_PARTS_PER_EDITION = 100
"""Maximum number of parts that one edition publishes."""
MAX_PUBLISH_BYTES = MAX_ENTRY_BYTES - 4096
"""Bytes for the parts and tables of a publish entry; the rest is for its ids, instants and names."""
_TABLE_BYTES = 80 + 68


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
    """Return the bytes of a table's name in four maps, with a row count twice, a snapshot id and a digest."""
    return 4 * len(json.dumps(name)) + _TABLE_BYTES


def _part_size(part: StagedPart) -> int:
    refs = [part.rows_ref.model_dump(mode="json"), part.snapshot_ref.model_dump(mode="json")]
    # With escapes the text is never shorter than in the entry, which has none.
    return len(json.dumps([*refs, part.drop]))
