"""Retirement of built editions: the edition stays in the log, and the data files that only it has are removed.

A landed edition is never retired: its files are those of every later one. First the edition is marked, so that a
reader gets a clear error, then its tags are removed. `Lake.remove_orphan_files` expires the snapshots that no tag
names, and removes their files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from wellspring.errors import Refused
from wellspring.lake.built_tables import BuiltTables
from wellspring.lake.editions import EditionStore
from wellspring.records.lake import Edition
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest
from wellspring.records.trust import Entry
from wellspring.stores.locks.port import WriteFence

RETIRE_ACTION = "retire"


class EditionRetirement:
    """Retires the built editions of one lake. One writer at a time: the caller's job holds the resource `built`."""

    def __init__(self, tables: BuiltTables, edition_store: EditionStore, fence: WriteFence) -> None:
        self._tables = tables
        self._edition_store = edition_store
        self._fence = fence

    def retire_edition(self, edition: Edition, *, facts: Mapping[str, JsonValue], step: Recorder) -> None:
        """Retire a built edition that nothing names: the caller has checked that. Raises Refused for the newest one."""
        if edition.level != "built" or edition == self._edition_store.latest_edition("built"):
            raise Refused(
                f"{edition.subject} is a landed edition, or the newest built one", fix="retire an older built edition"
            )
        with (
            self._fence.fence_writes("built"),
            step(RETIRE_ACTION, edition.subject, intent=True, facts=dict(facts)),
        ):
            step.crash_point("lake.retire:intent")
            self._apply(edition, step)

    def list_newest_of(self, transforms: Iterable[Digest]) -> frozenset[str]:
        """Return the ids of the editions that these transforms built last: releases answer from them."""
        newest = [self._edition_store.latest_of_transform(transform) for transform in transforms]
        return frozenset(edition.id for edition in newest if edition is not None)

    def complete_retirement(self, intent: Entry, step: Recorder) -> None:
        """Complete a retirement that a crash interrupted; idempotent."""
        edition = self._edition_store.get_edition(intent.subject.removeprefix("edition:"))
        with self._fence.fence_writes("built"):
            self._apply(edition, step)
            step.complete_after_crash(RETIRE_ACTION, intent.subject, intent.id, facts={"recovered": True})

    def _apply(self, edition: Edition, step: Recorder) -> None:
        self._edition_store.mark_retired(edition.id)
        step.crash_point("lake.retire:marked")
        for built_snapshot in edition.tables:
            table = self._tables.find_table(built_snapshot.table, built_snapshot.snapshot_id)
            if table is not None:
                table.remove_tag(f"edition-{edition.id}")
        step.crash_point("lake.retire:untagged")
