"""Each part of `receive`, alone and in this process: what the whole would cost if its parts cost nothing to join."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import JsonValue

from benchmarks.machine import timed
from benchmarks.vendor import Vendor
from wellspring.data import admit, digest
from wellspring.data.audit import audit
from wellspring.data.formats import csv
from wellspring.data.iceberg import MAIN, Warehouse
from wellspring.data.lake import Lake
from wellspring.data.land import land
from wellspring.data.staged import OURS, in_order, marks, with_ours
from wellspring.records.clock import SystemClock
from wellspring.records.data import Contract, Intake
from wellspring.records.trust import Ref
from wellspring.records.verdict import Verdict
from wellspring.stores.objects.disk import DiskPaths
from wellspring.trust import dlp
from wellspring.trust.keys.port import DataKey
from wellspring.trust.ledger.cosigner import Witness, register
from wellspring.trust.ledger.index import Index
from wellspring.trust.ledger.journal import Journal
from wellspring.trust.ledger.sequencer import Sequencer
from wellspring.trust.ledger.tree import Tree, origin
from wellspring.trust.tokenization import Tokenizer
from wellspring.trust.vault import frames

INTEGRATIONS = 4
"""How often one run of `receive` integrates: at its start, before and after the publish, after the seals."""


class Parts(NamedTuple):
    """Seconds of each part, and of what is already inside one of them."""

    seconds: dict[str, float]
    within: dict[str, float]


def parts(vendor: Vendor, name: str, contract: Contract, folder: Path, *, entries: int) -> Parts:
    """Time each part for one file. entries: how many ledger entries a whole run writes."""
    clock = SystemClock()
    seconds: dict[str, float] = {}
    made: dict[str, Any] = {}

    def part(what: str, work: Any) -> Any:
        seconds[what] = timed(lambda: made.update(value=work()))
        return made["value"]

    fetched = part("fetch over SFTP", lambda: vendor.source().fetch(name))
    original = part(
        "hash, encrypt, fsync",
        lambda: land(
            fetched.content,
            source="clearinghouse",
            name=name,
            contract=contract,
            keys=_LocalKeys(),
            folder=folder / "originals",
            received=clock.now(),
        ),
    )
    parsed = part("parse", lambda: csv.read(fetched.content, contract))
    judged = part("judge, search for personal data", lambda: admit.judge(parsed, contract))
    tokens = Tokenizer({each.domain: (1, os.urandom(32)) for each in contract.columns if each.domain})
    tokenized = [each for each in contract.columns if each.leaves == "token" and each.domain]
    part("tokens", lambda: [tokens.column(str(each.domain), judged.good[each.name]) for each in tokenized])
    free = [each.name for each in contract.columns if each.leaves == "masked"]
    part("mask free text", lambda: [dlp.masked(judged.good[column], context=column) for column in free])
    admitted = admit.admit(judged, contract, tokens)
    part("digest of the rows", lambda: digest.rows(admitted.table))
    passed = Verdict(subject=original.drop.subject, outcome="pass")
    count = admitted.table.num_rows
    intake = Intake(
        original.drop, passed, judged.received, count, 0, admitted.masked, (), admitted.rows_digest, admitted.table
    )
    part("hand over the wall", lambda: _over_the_wall(intake))
    warehouse = Warehouse(folder / "lake")
    rows = with_ours(admitted.table, original.drop)
    table = warehouse.prepare(contract.name, rows.schema)
    snapshot = part("Iceberg append", lambda: table.write(rows, table.head(MAIN) or 0, marks(intake, contract)))
    told = part(
        "audit: read back, digest, contract",
        lambda: audit(
            in_order(table.added(snapshot).drop_columns(list(OURS)).select(admitted.table.column_names)),
            intake,
            contract,
        ),
    )
    if not told.passed:
        raise RuntimeError("the rows read back are not those that were written: there is no figure")
    warehouse.close()
    lake = Lake(folder / "lake of editions", tenant=contract.tenant, clock=clock)
    staged = lake.stage(intake, contract, step=_Silent())
    part("publish the edition", lambda: lake.publish("clearinghouse", [staged], step=_Silent()))
    lake.close()
    part("journal and ledger", _ledger(folder, contract.tenant, entries))
    as_is = [each for each in contract.columns if each.leaves == "as_is" and each.type == "string" and not each.enum]
    within = timed(lambda: [dlp.scan(judged.good[each.name], context=each.name) for each in as_is])
    return Parts(seconds, {"search for personal data (inside judge)": within})


def _over_the_wall(intake: Intake) -> Intake:
    """Send an intake from another process through a socket, and read it here."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        value, arrow = frames.intake_out(intake)
        child = os.fork()
        if child == 0:
            frames.send(theirs, {"kind": "done", "value": value, "arrow": len(arrow)}, arrow)
            os._exit(0)
        message = frames.receive(ours, limit=frames.REPLY_LIMIT) or {}
        received = frames.intake_in(message["value"], frames.receive_bytes(ours, int(str(message["arrow"]))))
        os.waitpid(child, 0)
    return received


def _ledger(folder: Path, tenant: str, entries: int) -> Any:
    """Prepare a ledger of its own; the answer, when called, journals and integrates what one run does."""
    clock = SystemClock()
    paths = DiskPaths(folder / "ledger")
    named = origin(paths, "bench")
    index = Index(folder / "ledger" / "index.sqlite", Tree(paths))
    sequencer = Sequencer(
        paths=paths,
        journals=folder / "journals",
        origin=named,
        signer=_LocalSigner(),
        witness=Witness(folder / "witness", clock=clock),
        index=index,
        clock=clock,
        reached=lambda _: None,
    )
    register(folder / "witness", sequencer.vkey())

    def write() -> None:
        journal = Journal(folder / "journals", "worker", tenant=tenant, clock=clock)
        for number in range(entries):
            journal.append(
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
    """Keys in this process: the key server's answer takes about two milliseconds, once a drop."""

    def data_key(self, name: str) -> DataKey:
        return DataKey(os.urandom(32), f"local:{name}")

    def unwrap(self, name: str, wrapped: str) -> bytes:
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

    def note(self, **facts: JsonValue) -> None: ...

    def reads(self, *refs: Ref) -> None: ...

    def writes(self, *refs: Ref) -> None: ...


class _Silent:
    """A Step that records nothing: journal and ledger are timed on their own."""

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

    def settle(
        self,
        action: str,
        subject: str,
        intent: str,
        *,
        facts: dict[str, JsonValue] | None = None,
        phase: Literal["done", "failed"] = "done",
    ) -> None: ...

    def answers(
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

    def reached(self, point: str) -> None: ...
