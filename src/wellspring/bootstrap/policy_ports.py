"""Open the policies in force; it needs no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.project import Project
from wellspring.trust.approvals import LedgerEntries
from wellspring.trust.changes.released_policies import ReleasedPolicies
from wellspring.trust.changes.store import ChangeStore

if TYPE_CHECKING:
    from wellspring.trust.policy import PolicySet


def open_released_policies(
    project: Project, ledger: LedgerEntries | None, *, default: PolicySet | None = None
) -> ReleasedPolicies:
    """Open the policies of a project. ledger: None for a project without a log; default: see `ReleasedPolicies`."""
    return ReleasedPolicies(
        ChangeStore(project.changes_dir), project.source_paths.get("policies"), ledger, default=default
    )


def load_policies_in_force(project: Project, ledger: LedgerEntries | None) -> PolicySet:
    """Return the policies in force. Raises ProjectError before the first release, CorruptedError."""
    return open_released_policies(project, ledger).load()
