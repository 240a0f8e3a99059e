"""Define ledger entries and the references that they hold."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from pydantic import JsonValue, SerializerFunctionWrapHandler, model_serializer

from wellspring.records.record import Digest, Frozen, Record

EntryPhase = Literal["intent", "done", "failed", "refused"]
ProjectMode = Literal["development", "governed"]
"""development: one person, no authenticator. governed: two persons, each with a password and an authenticator."""


class Ref(Frozen):
    """Name an input or output (`drop:vendor-1f0c...`), with the SHA-256 of its bytes where it has bytes."""

    name: str
    digest: Digest | None = None


class LineSignature(Frozen):
    """The signature of a line by the process that wrote it (`wellspring_verify.entry_signature`), in base64.

    certificate: the signature of the process's public key by its service. key: the public key. value: of the line.
    """

    certificate: str
    key: str
    value: str


class Entry(Record):
    """One ledger entry: digests, counts, tokens and names; never a value from personal data.

    service, sequence: position in that service's journal (sequence counts from 0 without gaps), so that the sequencer
    integrates each entry exactly once, even if it is killed. known_since: the instant at which it was written.
    intent: on `done`, `failed` or `refused`, the id of the intent entry that it completes, if there is one.
    signature: None for the entry of an answer, which a later entry of its journal covers.
    """

    version: Literal[1] = 1
    service: str
    sequence: int
    actor: str
    action: str
    phase: EntryPhase
    subject: str
    intent: str | None = None
    inputs: tuple[Ref, ...] = ()
    outputs: tuple[Ref, ...] = ()
    facts: dict[str, JsonValue] = {}
    trace: str
    signature: LineSignature | None = None

    @model_serializer(mode="wrap")
    def _leave_out_missing_signature(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = handler(self)
        if self.signature is None:
            del document["signature"]
        return document

    @property
    def id(self) -> str:
        """`service:sequence`, unique within one ledger."""
        return f"{self.service}:{self.sequence}"

    @property
    def owner(self) -> str:
        """The service to which the journal belongs: `worker` for the journals `worker` and `worker-2`."""
        name, dash, number = self.service.rpartition("-")
        return name if dash and number.isascii() and number.isdecimal() else self.service

    def text(self, name: str) -> str:
        """Return a text fact; '' if it is missing or not text."""
        value = self.facts.get(name)
        return value if isinstance(value, str) else ""

    def count(self, name: str) -> int:
        """Return an integer fact; 0 if it is missing or not an integer."""
        value = self.facts.get(name)
        return value if isinstance(value, int) else 0


class IndexedEntry(Frozen):
    """An entry and its index in the Merkle tree; the index counts leaves from 0.

    is_hashed: the tree holds only the digest of the entry's line.
    """

    index: int
    entry: Entry
    is_hashed: bool = False


class LedgerEntries(Protocol):
    """The part of the ledger's index that answers which entries there are of a subject or an action."""

    def list_entries(
        self, *, subject: str | None = None, action: str | None = None, phase: EntryPhase | None = None
    ) -> list[IndexedEntry]: ...
