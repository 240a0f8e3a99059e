"""What a contract's retention days are worth: when they are over the key is destroyed, then the file, then it is told.

The wrapped key stands in one row of the enclave's database and nowhere else, so destroying that row makes the original
and the quarantined rows unreadable wherever copies of the file may lie.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from wellspring.data.intake import originals
from wellspring.enclave import outbox
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.records.observe import Recorder
from wellspring.records.trust import Ref
from wellspring.trust.keys.port import DataKeys
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import OutboxEntry, StoredDrop


def expire_originals(store: VaultStore, *, folder: Path, step: Recorder, now: datetime) -> tuple[str, ...]:
    """End the retention of every drop that is past its date; return their ids. now: UTC."""
    expired = [kept for kept in store.list_decryptable() if kept.retention_until <= now]
    for stored_drop in expired:
        subject = stored_drop.drop.subject
        with step("expire", subject) as act:
            outbox_entry = OutboxEntry(
                key=f"expire/{stored_drop.drop.id}",
                action="expire",
                subject=subject,
                inputs=(Ref(name=f"original:{stored_drop.drop.id}", digest=stored_drop.original_digest),),
                outputs=(),
                facts={
                    "discarded": len(store.get_row_faults(stored_drop.drop.id)),
                    "key": "destroyed",
                    "file": "removed",
                },
            )
            outbox.fill_step(act, outbox_entry)
            store.destroy_key(stored_drop.drop.id, outbox_entry)
            step.crash_point("enclave.expire:key_destroyed")
            originals.remove_original(stored_drop.drop.id, folder=folder)
        store.mark_published(outbox_entry.key)
    return tuple(kept.drop.id for kept in expired)


def remove_orphans(store: VaultStore, *, folder: Path) -> tuple[str, ...]:
    """Remove files that nothing can open: a kill left them before their row was written or after their key was gone."""
    live_ids = {stored_drop.drop.id for stored_drop in store.list_decryptable()}
    orphans = tuple(name for name in originals.list_originals(folder) if name not in live_ids)
    for name in orphans:
        originals.remove_original(name, folder=folder)
    return orphans


def find_overdue(store: VaultStore, *, keys: DataKeys, folder: Path, now: datetime) -> tuple[StoredDrop, ...]:
    """Find the drops whose original still opens although its date is past: none, if the sweep does its work."""
    expired = [stored_drop for stored_drop in store.list_decryptable() if stored_drop.retention_until <= now]
    return tuple(kept for kept in expired if _still_opens(kept, keys=keys, folder=folder))


def _still_opens(stored_drop: StoredDrop, *, keys: DataKeys, folder: Path) -> bool:
    if stored_drop.wrapped_key is None:
        return False
    try:
        originals.read_original(stored_drop.drop, stored_drop.wrapped_key, keys=keys, folder=folder)
    except (NotFound, CorruptedError, Refused):
        return False
    return True
