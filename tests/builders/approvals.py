"""Users, a release and a ledger in memory, for tests of approvals."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import JsonValue

from tests.builders.recording_step import RecordingStep
from wellspring.records.decisions import ThresholdRule
from wellspring.records.models import Release
from wellspring.records.trust import Entry, EntryPhase, IndexedEntry
from wellspring.trust import approvals
from wellspring.trust.identity.port import Principal


class Somebody:
    """A person with a key in memory."""

    def __init__(self, name: str, *roles: str) -> None:
        self.principal = Principal(f"user:{name}", roles)
        self._key = Ed25519PrivateKey.generate()
        self.public_key = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = hashlib.sha256(self.public_key).hexdigest()[:16]
        self.signed: list[bytes] = []

    def sign(self, message: bytes) -> bytes:
        self.signed.append(message)
        return self._key.sign(message)


class Books:
    """A ledger: the entries of a step, in order, with those of the supervisor who enrolled people."""

    def __init__(self, *people: Somebody) -> None:
        self.step = RecordingStep()
        for item in people:
            self.enrol(item)

    def enrol(self, person: Somebody, *, service: str = "supervisor") -> None:
        public: dict[str, JsonValue] = {"public_key": base64.b64encode(person.public_key).decode()}
        name = person.principal.name.removeprefix("user:")
        with self.step("enroll", f"user:{name}", facts=public):
            pass
        self.change(self.step.entries[-1], service=service)

    def enter_mode(self, mode: str, *, service: str = "supervisor") -> None:
        """Record the entry that puts a mode into force."""
        with self.step("mode", "project:x", facts={"mode": mode}):
            pass
        self.change(self.step.entries[-1], service=service)

    def change(self, entry: Entry, **fields: object) -> None:
        self.step.entries[entry.sequence] = entry.model_copy(update=fields)

    def list_entries(
        self, *, subject: str | None = None, action: str | None = None, phase: EntryPhase | None = None
    ) -> list[IndexedEntry]:
        return [
            IndexedEntry(index=entry.sequence, entry=entry)
            for entry in self.step.entries
            if subject in (None, entry.subject) and action in (None, entry.action) and phase in (None, entry.phase)
        ]

    def refresh(self) -> None:
        """Do nothing: the entries are those of the step."""

    def result(self, action: str) -> list[str]:
        return [entry.phase for entry in self.step.entries if entry.action == action]


def release(**fields: object) -> Release:
    """A release whose digest is right, unless `id` and `digest` are given."""
    blank = Release(
        tenant="acme", known_since=RecordingStep().clock.now(), id="", digest="", model="denials", candidate="f" * 12,
        artifact="1" * 64, views="2" * 64, transform="7" * 64, preprocessing="3" * 64, task="binary",
        decision_rule=ThresholdRule(labels=("paid", "denied"), threshold="0.25"),
        edition="e1", policy="4" * 64,
    ).model_copy(update=fields)  # fmt: skip
    digest = approvals.compute_release_digest(blank)
    return blank.model_copy(update={"id": digest[:12], "digest": digest, **fields})
