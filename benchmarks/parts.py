"""Each part of `wellspring ingest`, alone and in this process."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from pydantic import JsonValue

from benchmarks.machine import time_call
from benchmarks.vendor import Vendor
from tests.builders import lakes
from tests.builders.journal_keys import SERVICE_KEYS, journal_key
from wellspring.data.formats import csv
from wellspring.data.intake.duplicates import find_repeated_rows
from wellspring.data.intake.originals import store_original
from wellspring.data.intake.typed_rows import type_batch
from wellspring.data.intake.validation import DropValidator, tokenize_batch
from wellspring.lake import table_hash
from wellspring.lake.port import MAIN_BRANCH
from wellspring.lake.staging import add_system_columns, snapshot_properties, system_values
from wellspring.lake.write_audit import audit_write
from wellspring.records.clock import SystemClock
from wellspring.records.content import BytesContent
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import AdmissionCounts, AdmissionResult
from wellspring.records.trust import Ref
from wellspring.records.verdict import Verdict
from wellspring.settings import DlpSettings
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.trust.dlp.registry import build_scanner
from wellspring.trust.keys.port import DataKey
from wellspring.trust.ledger.cosigner import LocalWitness, register_log
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.ledger.journal import Journal
from wellspring.trust.ledger.sequencer import Sequencer
from wellspring.trust.ledger.tree import MerkleTree, load_log_origin
from wellspring.trust.tokenization import Tokenizer
from wellspring.trust.vault import protocol

INTEGRATIONS = 4
"""How often one run of `wellspring ingest` integrates the ledger."""


class Parts(NamedTuple):
    """Seconds of each part, and of work that is included in one of them."""

    seconds: dict[str, float]
    within: dict[str, float]


def _fetch_file(vendor: Vendor, name: str) -> bytes:
    with vendor.source().open(name) as stream:
        return b"".join(iter(lambda: stream.read(1 << 20), b""))


def measure_parts(vendor: Vendor, name: str, contract: DataContract, folder: Path, *, entries: int) -> Parts:
    """Time each part for one file. entries: how many ledger entries a whole run writes."""
    clock = SystemClock()
    seconds: dict[str, float] = {}
    results: dict[str, Any] = {}

    def part(what: str, work: Any) -> Any:
        seconds[what] = time_call(lambda: results.update(value=work()))
        return results["value"]

    content = part("fetch over SFTP", lambda: _fetch_file(vendor, name))
    original = part(
        "hash, encrypt, fsync",
        lambda: store_original(
            io.BytesIO(content),
            source="clearinghouse",
            name=name,
            contract=contract,
            keys=_LocalKeys(),
            folder=folder / "originals",
            received=clock.now(),
        ),
    )
    scanner = build_scanner(DlpSettings())
    batches = part("parse", lambda: [*csv.read_csv(BytesContent(content), contract)])
    part(
        "compare keys within the file",
        lambda: find_repeated_rows(
            contract, lambda names: (type_batch(batch, contract, names).to_rows() for batch in batches)
        ),
    )
    validator = DropValidator(contract, scanner)
    valid = part(
        "validate, search for personal data", lambda: [validator.validate_batch(batch).valid for batch in batches]
    )
    tokens = Tokenizer({item.domain: (1, os.urandom(32)) for item in contract.columns if item.domain})
    admitted = part(
        "tokens, mask free text",
        lambda: pa.concat_tables(tokenize_batch(table, contract, tokens, validator) for table in valid),
    )
    part("digest of the rows", lambda: table_hash.hash_rows(admitted))
    verdict = Verdict(subject=original.drop.subject, outcome="pass")
    counts = AdmissionCounts(
        verdict=verdict,
        received=admitted.num_rows,
        admitted=admitted.num_rows,
        quarantined=0,
        masked=validator.masked,
        reasons=(),
        rows_digest=table_hash.hash_rows(admitted),
    )
    # Rows are a stream that is read once: each part gets its own.
    admission = AdmissionResult(original.drop, counts, None)
    part(
        "transfer between processes",
        lambda: _send_over_socket(admission._replace(rows=admitted.to_reader(max_chunksize=65_536))),
    )
    catalog = lakes.open_catalog(folder / "lake")
    rows = add_system_columns(admitted.to_reader(max_chunksize=65_536), original.drop)
    table = catalog.prepare_table(contract.name, rows.schema)
    snapshot = part(
        "Iceberg append",
        lambda: table.append_rows(rows, table.branch_head(MAIN_BRANCH) or 0, snapshot_properties(admission, contract)),
    )
    audit_verdict = part(
        "audit: read back, digest, contract",
        lambda: audit_write(lambda: table.rows_added_by(snapshot), admission, contract, system_values(original.drop)),
    )
    if not audit_verdict.passed:
        raise RuntimeError("the rows read back differ from those that were written")
    catalog.close()
    lake = lakes.open_lake(folder / "lake of editions", tenant=contract.tenant, clock=clock)
    staged_rows = admitted.to_reader(max_chunksize=65_536)
    staged = lake.stage_part(admission._replace(rows=staged_rows), contract, step=_SilentRecorder())
    part("publish the edition", lambda: lake.publish("clearinghouse", [staged], step=_SilentRecorder()))
    lake.close()
    part("journal and ledger", _ledger(folder, contract.tenant, entries))
    plain = [item for item in contract.columns if item.egress == "plain" and item.type == "string" and not item.enum]
    within = time_call(
        lambda: [scanner.scan_column(table[item.name], column_name=item.name) for table in valid for item in plain]
    )
    return Parts(seconds, {"search for personal data (inside validate)": within})


def _send_over_socket(admission: AdmissionResult) -> None:
    """Send an admission result from another process through a socket, and read its rows here."""
    receiver, sender = socket.socketpair()
    with receiver, sender:
        value, payload = protocol.encode_admission(admission)
        child = os.fork()
        if child == 0:
            protocol.send_frame(sender, {"kind": "done", "value": value}, payload)
            os._exit(0)
        message = protocol.receive_frame(receiver, limit=protocol.REPLY_LIMIT) or {}
        for _ in protocol.receive_rows(protocol.PayloadStream(receiver, protocol.payload_length(message))):
            pass
        os.waitpid(child, 0)


def _ledger(folder: Path, tenant: str, entries: int) -> Any:
    """Prepare a ledger; return a function that journals and integrates as many entries as one run."""
    clock = SystemClock()
    paths = DiskBlobStore(folder / "ledger")
    log_origin = load_log_origin(paths, "bench")
    index = LedgerIndex(folder / "ledger" / "index.sqlite", MerkleTree(paths), folder / "journals")
    sequencer = Sequencer(
        paths=paths,
        journals=folder / "journals",
        origin=log_origin,
        signer=_LocalSigner(),
        witness=LocalWitness(folder / "witness", clock=clock),
        index=index,
        service_keys=SERVICE_KEYS,
        crash_point=lambda _: None,
    )
    register_log(folder / "witness", sequencer.verifier_key())

    def write() -> None:
        journal = Journal(folder / "journals", journal_key("worker"), tenant=tenant, clock=clock)
        for number in range(entries):
            journal.append_entry(
                actor="service:worker",
                action="stage",
                phase="done",
                subject="drop:clearinghouse-0123456789ab",
                inputs=(Ref(name="rows:clearinghouse-0123456789ab/0", digest="5a" * 32),),
                facts={"rows": 150_000},
                trace="0" * 32,
            )
            if number % max(1, entries // INTEGRATIONS) == 0:
                sequencer.integrate()
        sequencer.integrate()
        journal.close()

    return write


class _LocalKeys:
    """Keys in this process: the key server takes about two milliseconds, once per drop."""

    def generate_data_key(self, name: str) -> DataKey:
        return DataKey(os.urandom(32), f"local:{name}")

    def unwrap_key(self, name: str, wrapped: str) -> bytes:
        raise NotImplementedError(name, wrapped)


class _LocalSigner:
    """The log's key in this process."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._secret = Ed25519PrivateKey.generate()

    def sign(self, message: bytes) -> bytes:
        return self._secret.sign(message)

    def public_key(self) -> bytes:
        return self._secret.public_key().public_bytes_raw()


class _Act:
    id, trace = "", "0" * 32

    def add_facts(self, **facts: JsonValue) -> None: ...

    def add_inputs(self, *refs: Ref) -> None: ...

    def add_outputs(self, *refs: Ref) -> None: ...


class _SilentRecorder:
    """A recorder that records nothing: journal and ledger are timed on their own."""

    def __call__(
        self,
        action: str,  # noqa: ARG002
        subject: str,  # noqa: ARG002
        *,
        inputs: Iterable[Ref] = (),  # noqa: ARG002
        outputs: Iterable[Ref] = (),  # noqa: ARG002
        intent: bool = False,  # noqa: ARG002
        facts: dict[str, JsonValue] | None = None,  # noqa: ARG002
    ) -> AbstractContextManager[_Act]:
        return nullcontext(_Act())

    def current_trace(self) -> str:
        return "ab" * 16

    def continue_trace(self, trace: str | None) -> AbstractContextManager[str]:  # noqa: ARG002
        return nullcontext("ab" * 16)

    def complete_after_crash(
        self,
        action: str,
        subject: str,
        intent: str,
        *,
        facts: dict[str, JsonValue] | None = None,
        phase: Literal["done", "failed"] = "done",
    ) -> None: ...

    def record_prediction(
        self,
        action: str,  # noqa: ARG002
        subject: str,  # noqa: ARG002
        *,
        inputs: Iterable[Ref] = (),  # noqa: ARG002
        outputs: Iterable[Ref] = (),  # noqa: ARG002
        facts: dict[str, JsonValue] | None = None,  # noqa: ARG002
        seconds: float | None = None,  # noqa: ARG002
    ) -> str:
        return ""

    def record_heartbeat(self) -> None: ...

    def crash_point(self, point: str) -> None: ...
