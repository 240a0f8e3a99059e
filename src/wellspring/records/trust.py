"""The words of the trust wing: who acts, and the one line that remembers it."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from wellspring.records.record import Digest, Frozen, Record

EntryPhase = Literal["intent", "done", "failed", "refused"]


class Ref(Frozen):
    """A thing named and pinned: `drop:clearinghouse-1f0c...`, and the SHA-256 of its bytes where it has bytes."""

    name: str
    digest: Digest | None = None


class Entry(Record):
    """One line of the ledger: digests, counts, tokens and names of things; never a value taken from a person's data.

    service and sequence are its place in that service's journal (sequence counts from 0 without a gap), so an entry
    is integrated exactly once however often the sequencer is killed. `known_since` is the instant it was written.
    intent: on `done`, `failed` or `refused`, the id of the intent that it settles, if there was one.
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

    @property
    def id(self) -> str:
        """`service:sequence`, unique for ever within one ledger."""
        return f"{self.service}:{self.sequence}"


class IndexedEntry(Frozen):
    """An entry and its place in the tree: `index` counts leaves from 0."""

    index: int
    entry: Entry
