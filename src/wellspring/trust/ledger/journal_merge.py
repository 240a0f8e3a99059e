"""Read what is new in the journals for the sequencer: each line is parsed once, and all lines come in order of time."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Callable, Container, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from wellspring.errors import CorruptedError
from wellspring.records.trust import Entry
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.index_rows import IndexRow, describe_entry, parse_entry
from wellspring.trust.ledger.line_signature import find_line_fault
from wellspring_verify.leaf import parse_leaf

_LARGE_INTEGER = re.compile(rb"(?:\":|[,\[])-?[0-9]{16}")
"""What may be an integer beyond 2^53, which canonical JSON cannot hold."""


class _MergedLine(NamedTuple):
    written_at: float
    row: IndexRow


class JournalMerge:
    """The new lines of all journals, as one sequence. Bounded memory: one segment of each journal at a time.

    A journal with a damaged or missing line, or with one that its service has not signed, ends before it; `findings`
    has the error by service, and the other journals go on. last_sequence: of a service in the tree; -1 without an
    entry. service_keys: the public key by service. excluded: services whose lines do not come.
    """

    def __init__(
        self,
        folder: Path,
        last_sequence: Callable[[str], int],
        service_keys: Mapping[str, bytes],
        excluded: Container[str] = frozenset(),
    ) -> None:
        self.findings: dict[str, CorruptedError] = {}
        self._folder = folder
        self._last_sequence = last_sequence
        self._service_keys = service_keys
        self._excluded = excluded
        self._placed: dict[str, int] = {}
        self._readers = {
            service: self._read_new(service, last_sequence(service)) for service in journal.list_services(folder)
        }
        # Sorted by time across services; each service keeps the order of its journal.
        readers = (reader for service, reader in self._readers.items() if service not in excluded)
        self._merged = heapq.merge(*readers, key=lambda line: line.written_at)

    def confirm_placed(self, content: bytes) -> IndexRow:
        """Return the next line of its journal, which a bundle beyond the checkpoint holds already.

        Call it before `take`. Of an excluded service, whose journal may have lost the line, its sequence is enough.
        Raises CorruptedError if it is not the next line, or if only its digest is left.
        """
        placed = parse_leaf(content) or parse_entry(content)
        expected = self._placed.get(placed.service, self._last_sequence(placed.service)) + 1
        self._placed[placed.service] = expected
        line = next(self._readers.get(placed.service, iter(())), None)
        if line is not None and line.row.leaf == content:
            return line.row
        if (
            isinstance(placed, Entry)
            and placed.service in self._excluded
            and placed.sequence == expected
            and is_canonical(placed, content)
            and not find_line_fault(placed, content, self._service_keys)
        ):
            return describe_entry(placed, content)
        raise CorruptedError(
            f"a bundle beyond the checkpoint has {placed.id}, and the journal of {placed.service} does not",
            fix="keep everything; another process wrote into the ledger's folder",
        )

    def take(self, count: int) -> list[IndexRow]:
        """Return the next `count` lines, fewer at the end of the journals."""
        return [line.row for line in islice(self._merged, count)]

    def _read_new(self, service: str, last_sequence: int) -> Iterator[_MergedLine]:
        latest = 0.0
        try:
            for sequence, content in journal.read_lines(self._folder, service, last_sequence):
                entry = _parse_journal_line(service, sequence, content)
                if fault := find_line_fault(entry, content, self._service_keys):
                    raise CorruptedError(
                        f"line {sequence} of the journal of {service}: {fault}",
                        fix="keep the journal; find out who wrote into it; run `wellspring ledger verify`",
                    )
                latest = max(latest, entry.known_since.timestamp())
                yield _MergedLine(latest, describe_entry(entry, content))
        except CorruptedError as exc:
            self.findings[service] = exc


def _parse_journal_line(service: str, sequence: int, content: bytes) -> Entry:
    entry = parse_entry(content)
    if (entry.service, entry.sequence) != (service, sequence) or not is_canonical(entry, content):
        raise CorruptedError(
            f"line {sequence} of the journal of {service} is not the entry that was written there",
            fix="keep the journal; run `wellspring ledger verify`",
        )
    return entry


def is_canonical(entry: Entry, content: bytes) -> bool:
    """Return whether the bytes are the canonical form of an entry that was parsed from them."""
    # Python and RFC 8785 may sort characters beyond ASCII differently.
    if not content.isascii() or _LARGE_INTEGER.search(content):
        return journal.encode_entry(entry) == content
    # The encoder of the standard library is written in C, and gives the same bytes for all other entries.
    text = json.dumps(entry.model_dump(mode="json"), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode() == content
