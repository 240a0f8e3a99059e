"""What one run of `ingest` or `replay` did, file by file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from wellspring.data.intake import reconciliation
from wellspring.records.ingestion import RowAccount
from wellspring.records.lake import Edition
from wellspring.records.record import Frozen
from wellspring.records.verdict import Reason, Verdict
from wellspring.workflows.contracts_in_force import UnreleasedContract

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform, ReadPorts

FileStatus = Literal[
    "published", "waiting", "stopped", "copied", "quarantined", "finding", "still_writing", "withdrawn"
]


class FileResult(Frozen):
    """The result of one file. status: copied or quarantined if no row of it is to be published.

    account: row account of its drop, None for a file that did not become a drop.
    """

    name: str
    status: FileStatus
    drop: str | None = None
    contract: str | None = None
    reasons: tuple[Reason, ...] = ()
    account: RowAccount | None = None


class IngestResult(Frozen):
    """The result of one run of `ingest` or `replay`.

    edition: the latest landed edition. newly_published: whether this run published it. age_seconds: time since its
    publication. verdict: fail when this run stopped a drop, or when a stopped drop holds back its set. open_findings:
    of the source, all of them; `files` has those that this run was the first to see. unreleased_contracts: those whose
    file differs from the version in force, which judged the files.
    """

    source: str
    verdict: Verdict
    files: tuple[FileResult, ...]
    edition: Edition | None
    newly_published: bool
    age_seconds: int | None
    open_findings: int = 0
    unreleased_contracts: tuple[UnreleasedContract, ...] = ()


def build_row_account(platform: Platform | ReadPorts, drop_id: str) -> RowAccount:
    """Count the rows of a drop by state: published rows from the lake, all others from the ledger."""
    # Refused and failed actions moved no row.
    entries = platform.ledger.index.list_entries(subject=f"drop:{drop_id}", phase="done")
    return reconciliation.reconcile_drop(entries, published=platform.lake.count_drop_rows(drop_id).published)
