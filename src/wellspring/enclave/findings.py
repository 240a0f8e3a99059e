"""What is wrong and waits for a person: each finding is recorded once, however often it is met again."""

from __future__ import annotations

import hashlib

from pydantic import JsonValue

from wellspring.records.observe import Step
from wellspring.trust import dlp
from wellspring.trust.vault.kept import Fact, Kept
from wellspring.trust.vault.postgres import VaultStore

LONGEST = 200
"""Characters of the longest file name that is taken: a name is a fact in the ledger."""
# A provider's number is public, and one run of ten digits in eight that a vendor numbers files with looks like one.
_PUBLIC = {"npi"}


class Findings:
    """Records findings of the enclave."""

    def __init__(self, store: VaultStore, step: Step) -> None:
        self._store = store
        self._step = step

    def record(self, code: str, source: str, name: str, what: str) -> None:
        """Record what was found about a file that is no drop. Its subject holds a digest of the name."""
        marked = hashlib.sha256(name.encode()).hexdigest()[:16]
        noted: dict[str, JsonValue] = {"code": code, "what": what}
        if len(name) <= LONGEST and not personal(name):
            noted["name"] = name
        self._once(f"finding/{code}/{source}/{marked}", f"file:{source}/{marked}", noted)

    def changed(self, kept: Kept, modified: str) -> None:
        """Record that a drop's name now holds other bytes. modified: since when, by the source's clock."""
        noted: dict[str, JsonValue] = {
            "code": "changed",
            "what": "other bytes under the name of a drop that was taken",
            "modified": modified,
        }
        self._once(f"finding/changed/{kept.drop.id}/{modified}", kept.drop.subject, noted)

    def overdue(self, kept: Kept) -> None:
        """Record that an original still opens although its retention has ended."""
        noted: dict[str, JsonValue] = {
            "code": "overdue",
            "what": "the original still opens although its retention has ended",
        }
        self._once(f"finding/overdue/{kept.drop.id}", kept.drop.subject, noted)

    def personal_name(self, source: str, name: str) -> str | None:
        """Record a file whose own name holds personal data, and return that name masked; None for any other file."""
        if not personal(name):
            return None
        self.record("personal_name", source, name, "the file's name holds personal data")
        return dlp.mask(name)

    def _once(self, key: str, subject: str, noted: dict[str, JsonValue]) -> None:
        fact = Fact(key, "finding", subject, (), (), noted)
        if self._store.find(fact):
            with self._step(fact.action, fact.subject, facts=fact.facts):
                pass
            self._store.told(key)


def personal(name: str) -> bool:
    """Say whether a file's name holds personal data."""
    return any(hit.kind not in _PUBLIC for hit in dlp.find(name))
