"""From a subject to its story: sealed in the log, packed with proofs, verified without the house."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wellspring.compliance import evidence
from wellspring.errors import Unavailable
from wellspring.project import Project
from wellspring.records.data import Edition

if TYPE_CHECKING:
    from wellspring.bootstrap import LedgerAccess, Platform


class WrittenPack(NamedTuple):
    """A written story. entries: how many lines of the log it proves."""

    subject: str
    folder: Path
    entries: int


def prove_subject(ledger: LedgerAccess, subject: str, folder: Path, *, platform: Platform | None = None) -> WrittenPack:
    """Write the story of `drop:ID`, `edition:ID` or `dataset:NAME` into `folder`, with proofs.

    A story that is already sealed in the signed log needs no server. Otherwise the house must be up to seal it:
    raises Unavailable when `house` is None.
    """
    if platform is not None:
        platform.sequencer.integrate()
    story = evidence.collect_story(ledger.index, subject)
    documents = collect_documents(ledger, story)
    if evidence.find_seal(ledger.index, story, documents) is None:
        if platform is None:
            raise Unavailable(
                f"the story of {subject} is not sealed in the log yet, and the servers are down",
                fix="run `wellspring up`",
            )
        evidence.seal_story(platform.step, ledger.index, story, documents)
        platform.sequencer.integrate()
    with ledger.step("prove", story.subject) as act:
        evidence.write_pack(folder, story, documents, ledger.tree, ledger.index)
        act.add_facts(entries=len(story.entries))
    return WrittenPack(story.subject, folder, len(story.entries))


def collect_documents(ledger: LedgerAccess, story: evidence.ProvenanceStory) -> dict[str, bytes]:
    """Find the texts that entries of a story name by digest: contracts, releases, candidates, manifests."""
    project = ledger.project
    return evidence.collect_documents(story, contract_archive_dir(project), project.models_dir)


def contract_archive_dir(project: Project) -> Path:
    """The folder of all contracts that rows were ever held against, by digest."""
    return project.lake_dir / "contracts"


def seal_edition(platform: Platform, edition: Edition) -> None:
    """Seal the stories of what was just published, so that proving them later needs no server."""
    subjects = [edition.subject, *(f"drop:{drop}" for drop in edition.drops)]
    if edition.level == "landed":
        subjects += [f"dataset:{table_snapshot.table}" for table_snapshot in edition.tables]
    seal_stories(platform, subjects)


def seal_stories(platform: Platform, subjects: Iterable[str]) -> None:
    """Seal stories as they stand now; what is sealed already is left alone."""
    for subject in subjects:
        story = evidence.collect_story(platform.ledger.index, subject)
        evidence.seal_story(platform.step, platform.ledger.index, story, collect_documents(platform.ledger, story))
    platform.sequencer.integrate()
