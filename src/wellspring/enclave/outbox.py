"""What the enclave tells the ledger: once for each fact, whatever is killed when.

A change and its fact are one transaction in the database; then the step writes the entry; then the fact is marked as
told. After a kill between the last two the entry stands and the mark does not: the enclave's own journal is asked.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from wellspring.enclave.intake import ProcessedDrop
from wellspring.records.data import DataContract
from wellspring.records.observe import Recorder, StepContext
from wellspring.records.record import format_instant
from wellspring.records.trust import Entry, Ref
from wellspring.records.verdict import Reason
from wellspring.trust.ledger import journal
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import AdmissionPart, OutboxEntry, StoredDrop
from wellspring_verify import canonical

SERVICE = "enclave"
_MAX_REASONS = 200
"""Reasons in one entry at most: an entry has 64 KiB."""


def fill_step(act: StepContext, outbox_entry: OutboxEntry) -> None:
    """Write a fact into the step under way, before the store is asked to keep it: what no entry may hold shows here."""
    act.add_facts(**outbox_entry.facts)
    act.add_inputs(*outbox_entry.inputs)
    act.add_outputs(*outbox_entry.outputs)


def flush_outbox(store: VaultStore, *, step: Recorder, journals: Path) -> int:
    """Tell what a crash left untold; return how many facts. Called at start and before each act."""
    pending = store.list_pending_entries()
    if not pending:
        return 0
    subjects = {fact.subject for fact in pending}
    recorded = [entry for entry in _journal_entries(journals) if entry.phase == "done" and entry.subject in subjects]
    for outbox_entry in pending:
        if not any(_matches_outbox(entry, outbox_entry) for entry in recorded):
            with step(
                outbox_entry.action,
                outbox_entry.subject,
                inputs=outbox_entry.inputs,
                outputs=outbox_entry.outputs,
                facts=outbox_entry.facts,
            ):
                pass
        store.mark_published(outbox_entry.key)
    return len(pending)


def landed_entry(stored_drop: StoredDrop) -> OutboxEntry:
    """Say that a drop is kept: its bytes by digest, its original by the digest of the ciphertext."""
    drop = stored_drop.drop
    return OutboxEntry(
        key=f"land/{drop.id}",
        action="land",
        subject=drop.subject,
        inputs=(Ref(name=f"source:{drop.source}/{drop.name}", digest=drop.digest),),
        outputs=(Ref(name=f"original:{drop.id}", digest=stored_drop.original_digest),),
        facts={
            "name": drop.name,
            "size": drop.size,
            "received": None,
            "contract": drop.contract,
            "contract_version": drop.contract_version,
            "retention_until": format_instant(stored_drop.retention_until),
        },
    )


def admission_entry(
    stored_drop: StoredDrop, part: AdmissionPart, contract: DataContract, processed: ProcessedDrop
) -> OutboxEntry:
    """Say what came of a drop, or of its rows that waited: counts, digests and reasons, never a value."""
    drop = stored_drop.drop
    row_numbers = canonical.dumps_canonical(sorted(processed.quarantined_rows))
    rows = (Ref(name=f"rows:{drop.id}/{part.replay_number}", digest=part.rows_digest),) if part.rows_digest else ()
    return OutboxEntry(
        key=f"admit/{drop.id}/{part.replay_number}",
        action="admit",
        subject=drop.subject,
        inputs=(
            Ref(name=f"original:{drop.id}", digest=stored_drop.original_digest),
            Ref(name=f"contract:{contract.name}@{contract.version}", digest=contract.digest),
        ),
        outputs=rows,
        facts={
            "replay_number": part.replay_number,
            "outcome": part.verdict.outcome,
            "received": part.received,
            "admitted": part.admitted,
            "quarantined": part.quarantined,
            "masked": part.masked,
            "reasons": _reason_counts(part.reasons, contract),
            "findings": _reason_counts(processed.findings, contract),
            "quarantined_rows": hashlib.sha256(row_numbers).hexdigest(),
        },
    )


def _reason_counts(reasons: tuple[Reason, ...], contract: DataContract) -> list[JsonValue]:
    """Write reasons by code and count; a column only if the contract names it: another name comes from the file."""
    declared = {column.name for column in contract.columns} | {rule.name for rule in contract.rules}
    return [
        {
            "code": reason.code,
            "column": reason.column if reason.column and set(reason.column.split(",")) <= declared else None,
            "count": reason.count,
        }
        for reason in reasons[:_MAX_REASONS]
    ]


def _journal_entries(journals: Path) -> list[Entry]:
    lines: list[Any] = [json.loads(line) for _, line in journal.read_lines(journals, SERVICE)]
    return [Entry.model_validate(line) for line in lines]


def _matches_outbox(entry: Entry, outbox_entry: OutboxEntry) -> bool:
    return (
        entry.action == outbox_entry.action
        and entry.subject == outbox_entry.subject
        and entry.inputs == outbox_entry.inputs
        and entry.outputs == outbox_entry.outputs
        and all(name in entry.facts and entry.facts[name] == value for name, value in outbox_entry.facts.items())
    )
