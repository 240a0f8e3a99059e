"""Provenance stories: collected for a subject, sealed in the ledger, and written as packs with proofs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wellspring.bootstrap import open_sealed_manifests
from wellspring.bootstrap.lake_ports import open_stored_state
from wellspring.compliance import evidence
from wellspring.compliance.sealed_parts import SealedParts
from wellspring.errors import CorruptedError, Unavailable
from wellspring.operations.stored_state import list_editions, list_story_problems
from wellspring.project import Project
from wellspring.records.lake import Edition
from wellspring.records.record import Digest

if TYPE_CHECKING:
    from wellspring.bootstrap import LedgerReader, Platform


class WrittenPack(NamedTuple):
    """A written evidence pack. entries: number of ledger entries that it proves."""

    subject: str
    folder: Path
    entries: int


def prove_subject(ledger: LedgerReader, subject: str, folder: Path, *, platform: Platform | None = None) -> WrittenPack:
    """Write the provenance story of a subject, such as `drop:ID` or `dataset:NAME`, with proofs into `folder`.

    A sealed story needs no server; without an open platform the pack is written and not recorded. Sealing needs an open
    platform: raises Unavailable without one when the story is not sealed. Raises CorruptedError when a data file of an
    edition of the story, a view definition or a release pointer differs from the log.
    """
    if platform is not None:
        platform.sequencer.integrate()
    sealed = open_sealed_parts(ledger)
    story = evidence.collect_story(ledger.index, subject, sealed)
    _require_unchanged(ledger, story)
    documents = collect_documents(ledger, story)
    if evidence.find_seal(ledger.index, story, documents) is None:
        if platform is None:
            raise Unavailable(
                f"the story of {subject} is not sealed in the ledger, and the servers are down",
                fix="run `wellspring up`",
            )
        evidence.seal_story(platform.step, ledger.index, story, documents, sealed)
        platform.sequencer.integrate()
    if platform is None:
        entries = evidence.write_pack(folder, story, documents, ledger.tree, ledger.index, sealed)
        return WrittenPack(story.subject, folder, entries)
    with platform.step("prove", story.subject) as act:
        entries = evidence.write_pack(folder, story, documents, ledger.tree, ledger.index, sealed)
        act.add_facts(entries=entries)
    return WrittenPack(story.subject, folder, entries)


def _require_unchanged(ledger: LedgerReader, story: evidence.ProvenanceStory) -> None:
    """Raise CorruptedError if a file, a view definition or a release pointer that a story depends on was changed."""
    editions = list_editions(indexed.entry for indexed in story.entries)
    problems = list_story_problems(open_stored_state(ledger.project), editions)
    if problems:
        raise CorruptedError(f"{story.subject} is not proved: {problems[0].what}", fix=problems[0].fix)


def collect_documents(ledger: LedgerReader, story: evidence.ProvenanceStory) -> dict[str, bytes]:
    """Collect the documents that a story refers to by digest: contracts, releases, candidates, manifests."""
    project = ledger.project
    return evidence.collect_documents(story, contract_archive_dir(project), project.models_dir, project.changes_dir)


def open_sealed_parts(ledger: LedgerReader) -> SealedParts:
    """Open the sealed parts of the project's stories, and the documents that they name."""
    project = ledger.project

    def find_texts(digests: Iterable[Digest]) -> dict[Digest, bytes]:
        return evidence.find_texts(digests, contract_archive_dir(project), project.models_dir, project.changes_dir)

    return SealedParts(ledger.index, open_sealed_manifests(project), find_texts)


def contract_archive_dir(project: Project) -> Path:
    """Return the folder of archived contracts, named by digest."""
    return project.lake_dir / "contracts"


def seal_edition(platform: Platform, edition: Edition) -> None:
    """Seal the stories of a published edition, its drops and its tables, so that proving them needs no server.

    It costs the entries of this edition: the editions before it are sealed parts.
    """
    subjects = [edition.subject, *(f"drop:{drop}" for drop in edition.drops)]
    if edition.level == "landed":
        subjects += [f"dataset:{table_snapshot.table}" for table_snapshot in edition.tables]
    seal_stories(platform, subjects)


def seal_stories(platform: Platform, subjects: Iterable[str]) -> None:
    """Seal the current stories of subjects; stories that are already sealed are not changed."""
    ledger = platform.ledger
    sealed = open_sealed_parts(ledger)
    for subject in subjects:
        story = evidence.collect_story(ledger.index, subject, sealed)
        evidence.seal_story(platform.step, ledger.index, story, collect_documents(ledger, story), sealed)
    platform.sequencer.integrate()
