"""Enforce retention: destroy the key of an expired original, remove its file, and record both.

Only one row of the enclave's database has the wrapped key. Without it, the original and the quarantined rows cannot be
decrypted, including any copy of the file.
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
    """Destroy the key and the file of every drop whose retention ended. Returns the drop ids. now: UTC."""
    expired = store.list_expired(now)
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
                    "discarded": store.count_waiting_rows(stored_drop.drop.id),
                    "key": "destroyed",
                    "file": "removed",
                },
            )
            outbox.fill_step(act, outbox_entry)
            store.destroy_key(stored_drop.drop.id, outbox_entry)
            step.crash_point("enclave.expire:key_destroyed")
            originals.remove_original(stored_drop.drop.id, folder=folder)
        store.outbox.mark_published(outbox_entry.key)
    return tuple(stored_drop.drop.id for stored_drop in expired)


def remove_orphans(store: VaultStore, *, folder: Path) -> tuple[str, ...]:
    """Remove files without a key: left by a crash before the row was written or after the key was destroyed."""
    live_ids = store.list_decryptable_ids()
    orphans = tuple(name for name in originals.list_originals(folder) if name not in live_ids)
    for name in orphans:
        originals.remove_original(name, folder=folder)
    return orphans


def find_overdue(store: VaultStore, *, keys: DataKeys, folder: Path, now: datetime) -> tuple[StoredDrop, ...]:
    """Find the drops whose original can still be decrypted after its retention. Normally the result is empty."""
    return tuple(
        stored_drop for stored_drop in store.list_expired(now) if _is_decryptable(stored_drop, keys=keys, folder=folder)
    )


def _is_decryptable(stored_drop: StoredDrop, *, keys: DataKeys, folder: Path) -> bool:
    if stored_drop.wrapped_key is None:
        return False
    try:
        with originals.open_original(stored_drop.drop, stored_drop.wrapped_key, keys=keys, folder=folder) as content:
            content.read(1)
    except (NotFound, CorruptedError, Refused):
        return False
    return True
