"""Entries of answers in a ledger of a test."""

from __future__ import annotations

from tests.builders.ledger import Ledger
from tests.builders.recording_step import RecordingStep
from wellspring.records.trust import Entry, Ref
from wellspring.sequencer.packing import LinePacker, record_pack
from wellspring.trust.ledger.journal import Journal


def append_answer(journal: Journal, number: int) -> Entry:
    """Append the entry of one answer."""
    return journal.append_entry(
        actor="service:api",
        action="predict",
        phase="done",
        subject=f"prediction:{number:020x}",
        inputs=[Ref(name="release:r1", digest="7" * 64)],
        outputs=[Ref(name=f"answer:{number:020x}", digest=f"{number:064x}")],
        facts={"model": "denials", "score": float(number).hex()},
        trace="ab" * 16,
    )


def write_answers(ledger: Ledger, count: int, *, first: int = 0) -> list[Entry]:
    """Append answers to the journal of the API."""
    return [append_answer(ledger.journal("api"), number) for number in range(first, first + count)]


class LedgerPacker:
    """A packer of a ledger; `pack` does one run of it. step: records the packs (default: into the journal)."""

    def __init__(self, ledger: Ledger, step: RecordingStep) -> None:
        self._ledger = ledger
        self.packer = LinePacker(
            index=ledger.index,
            paths=ledger.paths,
            journals=ledger.journals,
            ledger=ledger.folder / "ledger",
            origin=ledger.origin,
            record_pack=lambda pack, digest: record_pack(step, pack, digest),
            crash_point=ledger.reached,
        )

    def pack(self) -> int:
        """Integrate, pack, integrate and release; return the number of packed lines."""
        self._ledger.sequencer.integrate()
        packed = self.packer.write_packs()
        self._ledger.sequencer.integrate()
        self.packer.release_journals(packed.counts)
        return packed.lines
