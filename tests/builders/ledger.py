"""A whole ledger in a folder, for tests: journals, tiles, a signer, a witness, an index, and a story to tell."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import JsonValue

from tests.builders.journal_keys import SERVICE_KEYS, journal_key
from tests.builders.recording_step import Died, FixedClock, RecordingStep
from wellspring.records.trust import Entry, EntryPhase, Ref
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.trust.ledger.cosigner import Cosigner, LocalWitness, register_log
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.ledger.journal import Journal
from wellspring.trust.ledger.journal_state import count_packed_lines
from wellspring.trust.ledger.sequencer import Sequencer
from wellspring.trust.ledger.tree import MerkleTree, load_log_origin

CONTRACT = b"apiVersion: v3.1.0\nname: medical_claim\nversion: 1.0.0\n"


class LocalSigner:
    """The log's key in this process, in place of OpenBao."""

    def __init__(self, seed: bytes = b"\x07" * 32) -> None:
        self._secret = Ed25519PrivateKey.from_private_bytes(seed)

    def sign(self, message: bytes) -> bytes:
        return self._secret.sign(message)

    def public_key(self) -> bytes:
        return self._secret.public_key().public_bytes_raw()

    def public_keys(self) -> tuple[bytes, ...]:
        return (self.public_key(),)


class LocalKeyVersions:
    """The versions of the log's key in this process. retired: the first version that may still sign."""

    def __init__(self) -> None:
        self.latest = 1
        self.retired = 1
        self.created = datetime(2026, 11, 25, 12, tzinfo=UTC)

    def open_signer(self, version: int) -> LocalSigner:
        assert self.retired <= version <= self.latest
        return LocalSigner(bytes([6 + version]) * 32)

    def latest_version(self) -> int:
        return self.latest

    def add_version(self) -> int:
        self.latest += 1
        return self.latest

    def retire_versions(self, before: int) -> None:
        self.retired = before

    def created_at(self, version: int) -> datetime:
        assert version <= self.latest
        return self.created


class Ledger:
    """Opens or reopens everything that lies in one folder."""

    def __init__(
        self,
        folder: Path,
        *,
        signer: LocalSigner | None = None,
        witness: Cosigner | None = None,
        reached: Callable[[str], None] = lambda point: None,
        key_versions: LocalKeyVersions | None = None,
    ) -> None:
        self.folder = folder
        self.reached = reached
        self.clock = FixedClock()
        self.paths = DiskBlobStore(folder / "ledger")
        self.origin = load_log_origin(self.paths, "health_plan")
        self.tree = MerkleTree(self.paths)
        self.journals = folder / "journals"
        self.index = LedgerIndex(folder / "ledger" / "index.sqlite", self.tree, self.journals)
        self.witness = witness or LocalWitness(folder / "witness", clock=self.clock)
        self.sequencer = Sequencer(
            paths=self.paths,
            journals=self.journals,
            origin=self.origin,
            signer=signer or LocalSigner(),
            witness=self.witness,
            index=self.index,
            service_keys=SERVICE_KEYS,
            crash_point=reached,
            key_versions=key_versions,
        )
        register_log(folder / "witness", self.sequencer.verifier_key())
        self._journals: dict[str, Journal] = {}

    def journal(self, service: str = "worker") -> Journal:
        if service not in self._journals:
            self._journals[service] = Journal(
                self.journals,
                journal_key(service),
                tenant="acme",
                clock=self.clock,
                count_packed=partial(count_packed_lines, self.folder / "ledger", service),
                crash_point=self.reached,
            )
        return self._journals[service]

    def write(
        self, count: int, service: str = "worker", subject: str = "drop:d1", action: str = "stage"
    ) -> list[Entry]:
        return [
            self.journal(service).append_entry(
                actor=f"service:{service}", action=action, phase="done", subject=subject, facts={"n": n}, trace="0" * 32
            )
            for n in range(count)
        ]

    def contents(self) -> list[bytes]:
        return [self.tree.read_entry(place) for place in range(self.tree.size)]

    def close(self) -> None:
        for journal in self._journals.values():
            journal.close()
        self._journals = {}


class JournalStep(RecordingStep):
    """A step that writes into a real journal."""

    def __init__(self, ledger: Ledger, service: str) -> None:
        super().__init__(clock=ledger.clock)
        self._ledger, self._service = ledger, service

    def write(
        self,
        action: str,
        phase: EntryPhase,
        subject: str,
        *,
        intent: str | None,
        inputs: Iterable[Ref],
        outputs: Iterable[Ref],
        facts: dict[str, JsonValue],
    ) -> Entry:
        self._ledger.clock.pass_(seconds=1)
        entry = self._ledger.journal(self._service).append_entry(
            actor=f"service:{self._service}",
            action=action,
            phase=phase,
            subject=subject,
            intent=intent,
            inputs=inputs,
            outputs=outputs,
            facts=facts,
            trace="ab" * 16,
        )
        self.entries.append(entry)
        return entry


class Killer:
    """Dies at the n-th crash point that is passed, and remembers their names."""

    def __init__(self, instant: str | None = None) -> None:
        self.instant = instant
        self.passed: list[str] = []

    def __call__(self, point: str) -> None:
        self.passed.append(point)
        if point == self.instant:
            raise Died(point)


def sha(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def tell_drop(ledger: Ledger, drop: str, *, edition: str, parent: str | None, contract: str = "medical_claim") -> None:
    """Journal the entries of one drop that is ingested and published."""
    enclave, worker = JournalStep(ledger, "enclave"), JournalStep(ledger, "worker")
    rows = Ref(name=f"rows:{drop}/0", digest=sha(f"rows {drop}"))
    current = Ref(name=f"contract:{contract}@1.0.0", digest=sha(CONTRACT))
    original = Ref(name=f"original:{drop}", digest=sha(f"cipher {drop}"))
    source = Ref(name=f"source:clearinghouse/{contract}_{drop}.csv", digest=sha(f"file {drop}"))
    with enclave(
        "land",
        f"drop:{drop}",
        inputs=[source],
        outputs=[original],
        facts={"name": f"{contract}_{drop}.csv", "size": 1234, "received": 10, "contract": contract},
    ):
        pass
    with enclave("admit", f"drop:{drop}", inputs=[original, current], outputs=[rows]) as act:
        act.add_facts(replay_number=0, outcome="pass", received=10, admitted=8, quarantined=2, masked=1, reasons=[])
    with worker(
        "stage", f"drop:{drop}", inputs=[rows], outputs=[Ref(name=f"snapshot:{contract}@77", digest=rows.digest)]
    ):
        pass
    facts: dict[str, JsonValue] = {"level": "landed", "parent": parent, "drops": [drop]}
    with worker("publish", f"edition:{edition}", inputs=[rows], intent=True, facts=facts) as act:
        act.add_outputs(Ref(name=f"edition:{edition}", digest=sha(edition)))
    with enclave("settle", f"drop:{drop}", facts={"replay_number": 0}):
        pass
