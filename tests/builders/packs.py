"""A pack to break, and the keys that verify it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.builders.ledger import CONTRACT, JournalStep, Ledger, LocalSigner, tell_drop
from wellspring.compliance.evidence import collect_story, seal_story, write_pack

CONTRACTS = {"medical_claim@1.0.0": CONTRACT}


class Built(NamedTuple):
    """folder: the pack; key, witness: the verifier keys; project: the folder of its ledger."""

    folder: Path
    key: str
    witness: str
    project: Path

    def files(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }


def built(folder: Path, *, signer: LocalSigner | None = None, drops: int = 2, subject: str = "drop:d0") -> Built:
    """Record some drops, seal the story of the first, write its pack."""
    ledger = Ledger(folder / "project", signer=signer)
    for drop in range(drops):
        tell_drop(ledger, f"d{drop}", edition=f"e{drop}", parent=f"e{drop - 1}" if drop else None)
    ledger.sequencer.integrate()
    pack(ledger, folder / "pack", subject)
    ledger.close()
    return Built(folder / "pack", ledger.sequencer.verifier_key(), ledger.witness.verifier_key(), folder / "project")


def pack(ledger: Ledger, folder: Path, subject: str = "drop:d0") -> None:
    """Seal and write the pack of one story."""
    result = collect_story(ledger.index, subject)
    seal_story(JournalStep(ledger, "worker"), ledger.index, result, CONTRACTS)
    ledger.sequencer.integrate()
    write_pack(folder, result, CONTRACTS, ledger.tree, ledger.index)
