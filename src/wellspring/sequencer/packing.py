"""Pack the lines of which the log holds only the digest; tell the journals which of their lines may be removed."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from wellspring.errors import CorruptedError
from wellspring.records.observe import Recorder
from wellspring.records.trust import Ref
from wellspring.stores.objects.port import NamedBlobStore
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.ledger.index_rows import PACK_ACTION
from wellspring.trust.ledger.journal_state import PACKED_FILE, JournalState, read_states, write_states
from wellspring.trust.ledger.line_pack import EncodedPack, encode_pack
from wellspring.trust.ledger.line_reader import PACKS_FOLDER, pack_name

MAX_PACK_LINES = 65_536
"""Lines of one pack at most; it bounds the memory of packing and of reading one line."""


class PackedLines(NamedTuple):
    """What one run packed. counts: by service, how many of its lines the log had at that time."""

    packs: int
    lines: int
    counts: Mapping[str, int]


def record_pack(step: Recorder, pack: EncodedPack, digest: str) -> None:
    """Write the entry about a pack, durably."""
    subject = f"lines:{pack.first}"
    facts: dict[str, JsonValue] = {
        "first": pack.first,
        "last": pack.last,
        "lines": pack.lines,
        "bytes": len(pack.content),
    }
    with step(PACK_ACTION, subject, outputs=[Ref(name=subject, digest=digest)], facts=facts):
        pass  # The pack is written; the step only records it.


class LinePacker:
    """Writes line packs into the ledger's folder, and the state of what is packed. One thread of the sequencer uses it.

    record_pack: writes the entry about a pack, given its digest. A crash at any point loses nothing: a pack without an
    entry is removed by the next run, and a journal's lines are released only when the witnessed log has that entry.
    """

    def __init__(
        self,
        *,
        index: LedgerIndex,
        paths: NamedBlobStore,
        journals: Path,
        ledger: Path,
        origin: str,
        record_pack: Callable[[EncodedPack, str], None],
        crash_point: Callable[[str], None],
    ) -> None:
        self._index = index
        self._paths = paths
        self._journals = journals
        self._ledger = ledger
        self._origin = origin
        self._record_pack = record_pack
        self._crash_point = crash_point
        self._states = read_states(ledger, PACKED_FILE)
        self._packed_size = 0

    @property
    def waiting(self) -> int:
        """The number of entries of the log that came after the last run."""
        return self._index.count_entries() - self._packed_size

    def write_packs(self) -> PackedLines:
        """Pack every line of the published log that no pack holds.

        Call it after an integration. When the log has the entries about these packs, call `release_journals` with the
        counts. Raises CorruptedError for a line that is gone: nothing is packed or released before it is back.
        """
        size = self._index.count_entries()
        counts = {service: self._index.last_sequence(service) + 1 for service in journal.list_services(self._journals)}
        packs = self._index.list_packs()
        self._remove_unnamed({pack.digest for pack in packs})
        first = max(self._packed_size, packs[-1].last + 1 if packs else 0)
        lines, written, packed = self._index.lines.iter_lines(first, size), 0, 0
        while (pack := encode_pack(self._origin, itertools.islice(lines, MAX_PACK_LINES))) is not None:
            digest = hashlib.sha256(pack.content).hexdigest()
            self._paths.write_once(pack_name(digest), pack.content)
            self._crash_point("ledger.pack:written")
            self._record_pack(pack, digest)
            self._crash_point("ledger.pack:recorded")
            written, packed = written + 1, packed + pack.lines
        self._packed_size = size
        return PackedLines(written, packed, counts)

    def release_journals(self, counts: Mapping[str, int]) -> None:
        """Store that the first lines of each journal are in the witnessed log and in packs: their owner removes them.

        A damaged journal is not released.
        """
        self._crash_point("ledger.pack:witnessed")
        states = dict(self._states)
        for service, count in counts.items():
            try:
                states[service] = self._read_state(service, count)
            except CorruptedError:
                continue  # `ledger verify` names the damage.
        if states != self._states:
            write_states(self._ledger, PACKED_FILE, states)
            self._states = states
        self._crash_point("ledger.pack:released")

    def _read_state(self, service: str, count: int) -> JournalState:
        state = self._states.get(service, JournalState())
        if state.lines >= count:
            return state
        lines = journal.read_lines(self._journals, service, state.lines - 1)
        for _, content in itertools.islice(lines, count - state.lines):
            state = state.add_line(content)
        return state

    def _remove_unnamed(self, digests: set[str]) -> None:
        """Remove the packs that no entry names: a crash came between a pack and its entry."""
        for name in list(self._paths.list(PACKS_FOLDER)):
            if name.rpartition("/")[2] not in digests:
                self._paths.remove(name)
