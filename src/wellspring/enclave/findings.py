"""What is wrong and waits for a person: each finding is recorded once, however often it is met again."""

from __future__ import annotations

import hashlib

from pydantic import JsonValue

from wellspring.records.observe import Recorder
from wellspring.trust import dlp
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import OutboxEntry, StoredDrop

MAX_NAME_LENGTH = 200
"""Characters of the longest file name that is taken: a name is a fact in the ledger."""
# A provider's number is public, and one run of ten digits in eight that a vendor numbers files with looks like one.
_PUBLIC_KINDS = {"npi"}


class FindingRecorder:
    """Records findings of the enclave."""

    def __init__(self, store: VaultStore, step: Recorder) -> None:
        self._store = store
        self._step = step

    def record_finding(self, code: str, source: str, name: str, message: str) -> None:
        """Record what was found about a file that is no drop. Its subject holds a digest of the name."""
        name_digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        facts: dict[str, JsonValue] = {"code": code, "message": message}
        if len(name) <= MAX_NAME_LENGTH and not contains_personal_data(name):
            facts["name"] = name
        self._record_once(f"finding/{code}/{source}/{name_digest}", f"file:{source}/{name_digest}", facts)

    def record_changed_file(self, stored_drop: StoredDrop, modified: str) -> None:
        """Record that a drop's name now holds other bytes. modified: since when, by the source's clock."""
        facts: dict[str, JsonValue] = {
            "code": "changed",
            "message": "other bytes under the name of a drop that was taken",
            "modified": modified,
        }
        self._record_once(f"finding/changed/{stored_drop.drop.id}/{modified}", stored_drop.drop.subject, facts)

    def record_overdue_original(self, stored_drop: StoredDrop) -> None:
        """Record that an original still opens although its retention has ended."""
        facts: dict[str, JsonValue] = {
            "code": "overdue",
            "message": "the original still opens although its retention has ended",
        }
        self._record_once(f"finding/overdue/{stored_drop.drop.id}", stored_drop.drop.subject, facts)

    def record_personal_name(self, source: str, name: str) -> str | None:
        """Record a file whose own name holds personal data, and return that name masked; None for any other file."""
        if not contains_personal_data(name):
            return None
        self.record_finding("personal_name", source, name, "the file's name holds personal data")
        return dlp.mask_text(name)

    def _record_once(self, key: str, subject: str, facts: dict[str, JsonValue]) -> None:
        outbox_entry = OutboxEntry(key, "finding", subject, (), (), facts)
        if self._store.record_finding(outbox_entry):
            with self._step(outbox_entry.action, outbox_entry.subject, facts=outbox_entry.facts):
                pass
            self._store.mark_published(key)


def contains_personal_data(name: str) -> bool:
    """Say whether a file's name holds personal data."""
    return any(hit.kind not in _PUBLIC_KINDS for hit in dlp.find_pii(name))
