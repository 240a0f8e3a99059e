"""Sealed person rows of the vault: read the drops whose persons have none yet, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform
    from wellspring.workflows.ingest import WorkflowProgress


class BackfillResult(NamedTuple):
    """What one run did. drops: new person rows by drop. rows: all rows of the vault now, by token domain."""

    drops: dict[str, int]
    rows: dict[str, int]


def backfill_person_rows(platform: Platform, *, progress: WorkflowProgress | None = None) -> BackfillResult:
    """Let the enclave read each drop whose original is kept and whose persons were not read.

    Each drop is stored by itself, so a run that was interrupted goes on where it ended.
    """
    drops: dict[str, int] = {}
    unread = platform.vault.count_persons().unread_drops
    for number, drop in enumerate(unread):
        if progress is not None:
            progress("backfill", number, len(unread))
        drops[drop] = platform.vault.backfill_drop(drop)
    return BackfillResult(drops, platform.vault.count_persons().rows)
