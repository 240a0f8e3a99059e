"""Publish what is staged: the drops of a complete set, and each drop without a set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wellspring.data.intake import reconciliation
from wellspring.lake.publish_pieces import divide_parts
from wellspring.records.contracts import DataContract
from wellspring.records.verdict import Reason, Verdict
from wellspring.workflows.ingest_result import FileResult, FileStatus, IngestResult, build_row_account
from wellspring.workflows.prove import seal_edition

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform
    from wellspring.lake.staging import StagedPart


def publish_complete_sets(
    platform: Platform, source: str, file_results: list[FileResult], loaded_contracts: tuple[DataContract, ...]
) -> IngestResult:
    """Publish the staged parts of a source, except those of a set in which a drop is stopped."""
    platform.sequencer.integrate()
    stopped = platform.drops.list_stopped(source)
    sets = {contract.name: contract.set for contract in loaded_contracts}
    incomplete = {sets.get(name) for name in stopped.values()} - {None}
    staged_parts = tuple(
        staged_part
        for staged_part in platform.lake.staged_parts()
        if staged_part.source == source and sets.get(staged_part.contract) not in incomplete
    )
    newly_published = bool(staged_parts)
    if newly_published:
        _publish_pieces(platform, source, staged_parts)
        ingested_drops = {file_result.drop for file_result in file_results}
        file_results += [
            _earlier_result(platform, staged_part)
            for staged_part in staged_parts
            if staged_part.drop not in ingested_drops
        ]
    current_edition = platform.lake.get_edition()
    published_drops = {staged_part.drop for staged_part in staged_parts}
    reasons = tuple(
        Reason(
            code="set_incomplete",
            message=f"drop {drop} is stopped; the set {sets[name]} is not published until a valid drop of {name} "
            "replaces it",
        )
        for drop, name in stopped.items()
        if sets.get(name) is not None
    )
    reasons += tuple(
        Reason(code="stopped", message=f"drop {file_result.drop} is stopped; no other drop waits for it")
        for file_result in file_results
        if file_result.status == "stopped" and sets.get(str(file_result.contract)) is None
    )
    return IngestResult(
        source=source,
        verdict=Verdict(subject=f"source:{source}", outcome="fail" if reasons else "pass", reasons=reasons),
        files=tuple(
            _settle_result(platform, file_result, published_drops=published_drops) for file_result in file_results
        ),
        edition=current_edition,
        newly_published=newly_published,
        age_seconds=None
        if current_edition is None
        else int((platform.clock.now() - current_edition.known_since).total_seconds()),
    )


def _publish_pieces(platform: Platform, source: str, staged_parts: Sequence[StagedPart]) -> None:
    """Publish staged parts in pieces whose entries the ledger takes; after a crash the next run publishes the rest."""
    edition = platform.lake.get_edition()
    table_names = [table.table for table in edition.tables] if edition else []
    for piece in divide_parts(staged_parts, table_names):
        published = platform.lake.publish(source, piece, step=platform.step)
        platform.step.crash_point("workflows.publish:published")
        for staged_part in piece:
            platform.vault.confirm_published(staged_part.drop, staged_part.replay_number)
        platform.step.crash_point("workflows.publish:settled")
        platform.sequencer.integrate()
        seal_edition(platform, published)


def _earlier_result(platform: Platform, staged_part: StagedPart) -> FileResult:
    """Return the result of a drop that an earlier run staged and this run published."""
    landed = platform.ledger.index.list_entries(subject=f"drop:{staged_part.drop}", action="land", phase="done")
    name = str(landed[0].entry.facts["name"]) if landed else staged_part.drop
    return FileResult(name=name, status="waiting", drop=staged_part.drop, contract=staged_part.contract)


def _settle_result(platform: Platform, file_result: FileResult, *, published_drops: set[str]) -> FileResult:
    if file_result.drop is None:
        return file_result
    is_published = file_result.drop in published_drops and file_result.status == "waiting"
    status: FileStatus = "published" if is_published else file_result.status
    notes = reconciliation.list_file_notes(
        platform.ledger.index.list_entries(subject=f"drop:{file_result.drop}", action="admit", phase="done")
    )
    return file_result.model_copy(
        update={
            "status": status,
            "reasons": (*file_result.reasons, *notes) if file_result.status != "stopped" else file_result.reasons,
            "account": build_row_account(platform, file_result.drop),
        }
    )
