"""Rotate the key of the log: on request, and when the present one is older than the project allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from wellspring.records.observe import Recorder
from wellspring.records.trust import IndexedEntry
from wellspring.trust.keys.port import LogKeyVersions
from wellspring.trust.ledger.sequencer import Sequencer

ROTATE_ACTION, KEY_SUBJECT = "rotate_key", "key:ledger"


class KeyRotation:
    """Rotates the key of one log; in the thread that integrates. lifetime: None if no schedule rotates it."""

    def __init__(
        self,
        sequencer: Sequencer,
        versions: LogKeyVersions,
        *,
        list_open_intents: Callable[[], Iterable[IndexedEntry]],
        step: Recorder,
        lifetime: timedelta | None,
    ) -> None:
        self._sequencer = sequencer
        self._versions = versions
        self._list_open_intents = list_open_intents
        self._step = step
        self._lifetime = lifetime
        self._created_at: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Return whether the present key has reached its age."""
        if self._lifetime is None:
            return False
        if self._created_at is None:
            self._created_at = self._versions.created_at(self._sequencer.signers.count)
        return now - self._created_at >= self._lifetime

    def rotate(self, size: int) -> str:
        """Follow the present key by a new one for trees larger than `size`; return the new verifier key.

        Raises Unavailable when OpenBao or the witness does not respond; the next call completes what was begun.
        """
        former_key = self._sequencer.signers.newest_key
        facts = {"size": size, "former_key": str(former_key)}
        with self._step(ROTATE_ACTION, KEY_SUBJECT, intent=True, facts={**facts}) as act:
            key = self._sequencer.add_log_key(size)
            act.add_facts(key=str(key), version=self._sequencer.signers.count)
        self._created_at = None
        return str(key)

    def recover(self, size: int) -> None:
        """Complete the rotations that were killed. size: of the log, which holds their intents."""
        self._sequencer.complete_key_rotation()
        for intent in (indexed.entry for indexed in self._list_open_intents()):
            if intent.action != ROTATE_ACTION:
                continue
            if intent.text("former_key") == str(self._sequencer.signers.newest_key):
                self._sequencer.add_log_key(size)
            newest_key = str(self._sequencer.signers.newest_key)
            self._step.complete_after_crash(ROTATE_ACTION, KEY_SUBJECT, intent.id, facts={"key": newest_key})
