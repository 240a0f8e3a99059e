"""What a contract's retention days are worth: when they are over the key is destroyed, then the file, then it is told.

The wrapped key stands in one row of the enclave's database and nowhere else, so destroying that row makes the original
and the quarantined rows unreadable wherever copies of the file may lie.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from wellspring.data import land
from wellspring.enclave import facts
from wellspring.errors import Broken, NotFound, Refused
from wellspring.records.observe import Step
from wellspring.records.trust import Ref
from wellspring.trust.keys.port import Keys
from wellspring.trust.vault.kept import Fact, Kept
from wellspring.trust.vault.postgres import VaultStore


def sweep(store: VaultStore, *, folder: Path, step: Step, now: datetime) -> tuple[str, ...]:
    """End the retention of every drop that is past its date; return their ids. now: UTC."""
    over = [kept for kept in store.openable() if kept.retention_until <= now]
    for kept in over:
        subject = kept.drop.subject
        with step("retain", subject) as act:
            told = Fact(
                key=f"retain/{kept.drop.id}",
                action="retain",
                subject=subject,
                inputs=(Ref(name=f"original:{kept.drop.id}", digest=kept.original_digest),),
                outputs=(),
                facts={"discarded": len(store.waiting(kept.drop.id)), "key": "destroyed", "file": "removed"},
            )
            facts.fill(act, told)
            store.destroy_key(kept.drop.id, told)
            step.reached("enclave.retain:key_destroyed")
            land.remove(kept.drop.id, folder=folder)
        store.told(told.key)
    return tuple(kept.drop.id for kept in over)


def tidy(store: VaultStore, *, folder: Path) -> tuple[str, ...]:
    """Remove files that nothing can open: a kill left them before their row was written or after their key was gone."""
    alive = {kept.drop.id for kept in store.openable()}
    dead = tuple(name for name in land.kept(folder) if name not in alive)
    for name in dead:
        land.remove(name, folder=folder)
    return dead


def overdue(store: VaultStore, *, keys: Keys, folder: Path, now: datetime) -> tuple[Kept, ...]:
    """Find the drops whose original still opens although its date is past: none, if the sweep does its work."""
    past = [kept for kept in store.openable() if kept.retention_until <= now]
    return tuple(kept for kept in past if _opens(kept, keys=keys, folder=folder))


def _opens(kept: Kept, *, keys: Keys, folder: Path) -> bool:
    if kept.wrapped is None:
        return False
    try:
        land.open_original(kept.drop, kept.wrapped, keys=keys, folder=folder)
    except (NotFound, Broken, Refused):
        return False
    return True
