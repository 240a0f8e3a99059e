"""A pack to break, and the keys that verify it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from tests.builders.journal_keys import SERVICE_KEY_LINES
from tests.builders.ledger import CONTRACT, JournalStep, Ledger, LocalSigner, tell_drop
from wellspring.compliance.evidence import ProvenanceStory, collect_story, seal_story, write_pack
from wellspring.compliance.sealed_parts import SealedParts
from wellspring.stores.objects.disk import DiskContentStore

CONTRACTS = {"medical_claim@1.0.0": CONTRACT}


class Built(NamedTuple):
    """folder: the pack; key, witness: the verifier keys; project: the folder of its ledger."""

    folder: Path
    key: str
    witness: str
    project: Path

    def write_keys(self, folder: Path) -> str:
        """Write the file of keys that an auditor has, and return its path."""
        path = folder / "auditor-keys.txt"
        path.write_text("".join(f"{line}\n" for line in (self.key, self.witness, *SERVICE_KEY_LINES)))
        return str(path)

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


def sealed_parts(ledger: Ledger) -> SealedParts:
    """Open the sealed parts of a ledger; the contract is the only document."""
    digest = hashlib.sha256(CONTRACT).hexdigest()
    return SealedParts(
        ledger.index,
        DiskContentStore(ledger.folder / "sealed"),
        lambda digests: {digest: CONTRACT} if digest in set(digests) else {},
    )


def seal(ledger: Ledger, subject: str) -> ProvenanceStory:
    """Seal the current story of a subject, with the sealed parts that it refers to."""
    sealed = sealed_parts(ledger)
    story = collect_story(ledger.index, subject, sealed)
    documents = _documents(story)
    seal_story(JournalStep(ledger, "worker"), ledger.index, story, documents, sealed)
    ledger.sequencer.integrate()
    return story


def built_with_parts(folder: Path, subject: str = "edition:e3", *, editions: int = 4) -> Built:
    """Publish editions one after the other, seal each with its dataset, and write the pack of one story."""
    ledger = Ledger(folder / "project")
    for number in range(editions):
        tell_drop(ledger, f"d{number}", edition=f"e{number}", parent=f"e{number - 1}" if number else None)
        ledger.sequencer.integrate()
        for sealed_subject in (f"edition:e{number}", "dataset:medical_claim"):
            seal(ledger, sealed_subject)
    story = seal(ledger, subject)
    write_pack(folder / "pack", story, _documents(story), ledger.tree, ledger.index, sealed_parts(ledger))
    ledger.close()
    return Built(folder / "pack", ledger.sequencer.verifier_key(), ledger.witness.verifier_key(), folder / "project")


def _documents(story: ProvenanceStory) -> dict[str, bytes]:
    refs = {ref.name for item in story.entries for ref in item.entry.inputs}
    return {name: content for name, content in CONTRACTS.items() if f"contract:{name}" in refs}
