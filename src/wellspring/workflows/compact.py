"""Compaction of the recorded tables: many small files become few, with equal rows in equal order.

Editions pin the files of landed and built tables by digest, and no edition names a recorded table, so only these are
written again. Intent, act, done; the intent of a compaction that a crash interrupted is completed by the next run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.records.trust import Ref

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform

MIN_FILES = 8
"""A table with fewer files is left alone."""
_ACTION = "compact"


def compact_recorded_tables(platform: Platform) -> tuple[str, ...]:
    """Compact each recorded table with many files, remove the files that nothing names, and return their names."""
    names = [
        name
        for name in platform.recorded_tables.list_names()
        if platform.recorded_tables.count_files(name) >= MIN_FILES
    ]
    for name in names:
        with platform.step(_ACTION, f"dataset:{name}", intent=True) as act:
            platform.step.crash_point("workflows.compact:intent")
            compacted = platform.recorded_tables.write_compacted(name)
            platform.step.crash_point("workflows.compact:written")
            platform.recorded_tables.switch_to_compacted(compacted)
            platform.step.crash_point("workflows.compact:switched")
            act.add_outputs(Ref(name=f"snapshot:{name}@{compacted.snapshot_id}", digest=compacted.rows_digest))
            act.add_facts(rows=compacted.rows)
    platform.recorded_tables.remove_orphan_files(older_than=platform.clock.now())
    return tuple(names)


def settle_compactions(platform: Platform) -> None:
    """Complete the intents that a crash left open: readers have the former files or the new ones, with equal rows."""
    for indexed in platform.ledger.index.list_open_intents():
        if indexed.entry.action == _ACTION:
            platform.step.complete_after_crash(
                _ACTION, indexed.entry.subject, indexed.entry.id, facts={"recovered": True}
            )
            platform.sequencer.integrate()
