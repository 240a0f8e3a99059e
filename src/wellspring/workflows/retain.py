"""Retention of the lake: old built editions are retired, what nothing names is removed, small files are compacted.

A built edition is kept while something names it: it is the newest one, a stored release was trained on it or answers
from it, an answer of the prediction window used it, or a user holds it. Landed editions are kept: their files are those
of the newest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import ProjectError
from wellspring.models.releases.promotion import refuse_retirement
from wellspring.workflows.compact import compact_recorded_tables, settle_compactions
from wellspring.workflows.holds import list_holds
from wellspring.workflows.ingest import WorkflowProgress, recover_interrupted_ingests

if TYPE_CHECKING:
    from datetime import datetime

    from wellspring.bootstrap import Platform
    from wellspring.models.releases.store import ReleaseStore

_WINDOW_FACT = "window_start"
"""Fact of the entry of a run: the log index of the first answer in the prediction window, where the next run begins."""


class RetentionResult(NamedTuple):
    """What one run did. retired: editions. named: old editions that something names, with what names each of them.

    removed_files: of retired editions and of failed writes. compacted: recorded tables.
    """

    retired: tuple[str, ...]
    named: dict[str, str]
    removed_files: int
    compacted: tuple[str, ...]


def retain_editions(
    platform: Platform, release_store: ReleaseStore, *, progress: WorkflowProgress | None = None
) -> RetentionResult:
    """Retire the built editions whose retention ended and that nothing names; then remove and compact files.

    Raises ProjectError without `retention.editions`.
    """
    settings = platform.project.retention
    if settings.editions is None:
        raise ProjectError(
            f"{platform.project.locate('retention')} has no `editions`, so no edition is retired",
            fix='write how long built editions are kept there, such as editions = "90d"',
        )
    recover_interrupted_ingests(platform)
    settle_compactions(platform)
    now = platform.clock.now()
    window_start, answered = _find_answered(platform, now)
    on_hold = {hold.edition for hold in list_holds(platform.ledger.index)}
    transforms = {release_store.get(release_id).transform for release_id in release_store.list_ids()}
    pinned = release_store.pinned_editions() | platform.lake.retirement.list_newest_of(transforms)
    latest = platform.lake.get_edition(level="built")
    named: dict[str, str] = {}
    retired: list[str] = []
    old_editions = [
        edition for edition in platform.lake.list_editions("built") if now - edition.known_since > settings.editions
    ]
    for place, edition in enumerate(reversed(old_editions)):
        if progress is not None:
            progress("retire", place, len(old_editions))
        reasons = {
            "the newest edition": latest is not None and edition.id == latest.id,
            "a release": edition.id in pinned,
            "a hold": edition.id in on_hold,
            "an answer": edition.id in answered,
        }
        what = next((name for name, names_it in reasons.items() if names_it), None)
        if what is not None:
            named[edition.id] = what
            continue
        refuse_retirement(edition, release_store)
        days = int((now - edition.known_since).total_seconds()) // 86_400
        platform.lake.retirement.retire_edition(edition, facts={"age_days": days}, step=platform.step)
        retired.append(edition.id)
    platform.step.crash_point("workflows.retain:retired")
    removed = platform.lake.remove_orphan_files(older_than=now, step=platform.step)
    platform.step.crash_point("workflows.retain:removed")
    compacted = compact_recorded_tables(platform)
    with platform.step("retain", f"project:{platform.project.name}") as act:
        act.add_facts(retired=len(retired), named=len(named), removed_files=removed, compacted=list(compacted))
        act.add_facts(**{_WINDOW_FACT: window_start})
    platform.sequencer.integrate()
    return RetentionResult(tuple(retired), named, removed, compacted)


def _find_answered(platform: Platform, now: datetime) -> tuple[int, frozenset[str]]:
    """Return where the prediction window starts in the log, and the editions that its answers used."""
    index, window = platform.ledger.index, platform.project.retention.predictions
    earlier_runs = index.list_entries(action="retain", phase="done") if window is not None else []
    # The window only moves on, so a run reads no answer before the one where the last run began.
    start = earlier_runs[-1].entry.count(_WINDOW_FACT) if earlier_runs else 0
    first = None
    editions: set[str] = set()
    for indexed in index.iter_entries(action="predict", phase="done", after=start):
        if window is not None and now - indexed.entry.known_since > window:
            continue
        first = indexed.index if first is None else first
        editions.update(ref.name for ref in indexed.entry.inputs if ref.name.startswith("edition:"))
        # Rows that newer editions did not bring still name the edition that wrote them.
        of_rows = indexed.entry.facts.get("editions")
        editions.update(f"edition:{edition}" for edition in (of_rows.values() if isinstance(of_rows, dict) else ()))
    window_start = start if first is None else first
    return window_start, frozenset(name.removeprefix("edition:") for name in editions)
