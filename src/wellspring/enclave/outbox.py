"""Transactional outbox: write each change of the enclave to the ledger exactly once, also after a crash.

One database transaction stores a change and its outbox entry. Then the step writes the ledger entry, and then the
outbox entry is marked as published. After a crash between the last two, the enclave's journal shows that the ledger
entry was written; for lines that the journal no longer has, the log shows it.

A row that the enclave did not write is set aside under a finding and never recorded. A row that was recorded before,
and that somebody sent back, is not recorded again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from wellspring.enclave.intake import ProcessedDrop
from wellspring.records.contracts import DataContract
from wellspring.records.observe import Recorder, StepContext
from wellspring.records.record import format_instant
from wellspring.records.trust import Entry, Ref
from wellspring.records.verdict import Reason
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.postgres_outbox import ForgedRow
from wellspring.trust.vault.records import AdmissionPart, OutboxEntry, StoredDrop

SERVICE = "enclave"
FORGED_ROW_CODE = "forged_row"
"""Code of the finding about rows of the outbox that the enclave did not write."""
_OUTBOX_SOURCE = "(outbox)"
"""Source of this finding; no source of a project can have this name."""
_MAX_REASONS = 200
"""Maximum number of reasons in one ledger entry, whose size limit is 64 KiB."""
FURTHER_REASONS = "others"
"""Code of the fact that counts the reasons, or findings, which an entry has no room for."""
_MAX_MESSAGES = 100
"""Maximum number of findings with a message in one ledger entry."""
_MAX_MESSAGE_LENGTH = 160
"""Maximum length of such a message in characters."""
_MAX_REASON_BYTES, _MAX_FINDING_BYTES = 20_000, 34_000
"""Maximum size of the reasons, and of the findings, of one ledger entry: names of columns and rules may be long."""


def fill_step(act: StepContext, outbox_entry: OutboxEntry) -> None:
    """Copy an outbox entry to the open step. Call it before the entry is stored, because the step rejects bad facts."""
    act.add_facts(**outbox_entry.facts)
    act.add_inputs(*outbox_entry.inputs)
    act.add_outputs(*outbox_entry.outputs)


def flush_outbox(store: VaultStore, *, step: Recorder, journals: Path, index: LedgerIndex) -> int:
    """Write the ledger entries that a crash left pending and return their number. Called before each operation.

    Rows without a valid MAC are set aside first, so that they do not delay the others.
    """
    count = 0
    while True:
        pending = store.outbox.read_pending_rows()
        if pending.forged:
            store.outbox.set_aside(pending.forged, forged_rows_entry(pending.forged))
            continue
        if not pending.entries:
            return count
        recorded = _list_recorded(pending.entries, journals, index)
        for outbox_entry in pending.entries:
            if not any(_matches_outbox(entry, outbox_entry) for entry in recorded):
                with step(
                    outbox_entry.action,
                    outbox_entry.subject,
                    inputs=outbox_entry.inputs,
                    outputs=outbox_entry.outputs,
                    facts=outbox_entry.facts,
                ):
                    pass
            store.outbox.mark_published(outbox_entry.key)
        count += len(pending.entries)


def forged_rows_entry(forged: Sequence[ForgedRow]) -> OutboxEntry:
    """Build the finding about rows that the enclave did not write: their names, positions and reasons, no content."""
    listed: list[dict[str, JsonValue]] = [
        {"row": row.name, "position": str(row.position), "code": row.reason} for row in forged
    ]
    finding = hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:12]
    facts: dict[str, JsonValue] = {
        "finding": finding,
        "code": FORGED_ROW_CODE,
        "source": _OUTBOX_SOURCE,
        "shown": f"outbox rows from {forged[0].position} to {forged[-1].position}",
        "message": "somebody else wrote to the enclave's database: rows without a valid MAC were set aside, unrecorded",
        "count": len(forged),
        "rows": list[JsonValue](listed),
    }
    return OutboxEntry(f"finding/{finding}", "finding", "outbox:enclave", (), (), facts)


def landed_entry(stored_drop: StoredDrop) -> OutboxEntry:
    """Build the entry of a stored drop, with the digests of its content and of its ciphertext."""
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
    """Build the entry of an admission or a replay: counts, digests and reasons, never a value."""
    drop, counts, judgement = stored_drop.drop, part.counts, stored_drop.rejudgements
    rows = (Ref(name=f"rows:{drop.id}/{part.replay_number}", digest=counts.rows_digest),) if counts.rows_digest else ()
    return OutboxEntry(
        key=f"admit/{drop.id}/{part.replay_number}" + (f"/{judgement}" if judgement else ""),
        action="admit",
        subject=drop.subject,
        inputs=(
            Ref(name=f"original:{drop.id}", digest=stored_drop.original_digest),
            Ref(name=f"contract:{contract.name}@{contract.version}", digest=contract.digest),
        ),
        outputs=rows,
        facts={
            "replay_number": part.replay_number,
            "outcome": counts.verdict.outcome,
            "received": counts.received,
            "admitted": counts.admitted,
            "quarantined": counts.quarantined,
            "masked": counts.masked,
            "reasons": _bound_list(_reason_counts(counts.reasons, contract), len(counts.reasons), _MAX_REASON_BYTES),
            "findings": _bound_list(
                _describe_findings(processed.findings, contract), len(processed.findings), _MAX_FINDING_BYTES
            ),
            "quarantined_rows": processed.quarantined_digest,
            "copies": dict[str, JsonValue](counts.copies),
            # Makes the entry of the same result another one.
            **({"judgement": judgement} if judgement else {}),
        },
    )


def _reason_counts(reasons: tuple[Reason, ...], contract: DataContract) -> list[dict[str, JsonValue]]:
    """Convert reasons to facts. A column name is included only if the contract declares it."""
    declared = {column.name for column in contract.columns} | {rule.name for rule in contract.rules}
    return [
        {
            "code": reason.code,
            "column": reason.column if reason.column and set(reason.column.split(",")) <= declared else None,
            "count": reason.count,
        }
        for reason in reasons[:_MAX_REASONS]
    ]


def _bound_list(facts: list[dict[str, JsonValue]], count: int, max_bytes: int) -> list[JsonValue]:
    """Cut a list of facts to a size; a last fact counts those that it lacks. count: of them all."""
    bounded: list[JsonValue] = []
    size = 0
    for fact in facts:
        # With escapes the text is never shorter than in the entry, which has none.
        size += len(json.dumps(fact)) + 1
        if size > max_bytes:
            break
        bounded.append(fact)
    if len(bounded) < count:
        bounded.append({"code": FURTHER_REASONS, "column": None, "count": count - len(bounded)})
    return bounded


def _describe_findings(findings: tuple[Reason, ...], contract: DataContract) -> list[dict[str, JsonValue]]:
    """Convert findings about a file to facts with messages; a message that repeats an undeclared name is left out.

    After `, with ` a message has only kinds of personal data and counts (`validation`).
    """
    facts = _reason_counts(findings, contract)
    for fact, finding in zip(facts[:_MAX_MESSAGES], findings, strict=False):
        if fact["column"] == finding.column or str(finding.column) not in finding.message.partition(", with ")[0]:
            fact["message"] = finding.message[:_MAX_MESSAGE_LENGTH]
    return facts


def _list_recorded(pending: Sequence[OutboxEntry], journals: Path, index: LedgerIndex) -> list[Entry]:
    """List the entries about the subjects of pending rows, from the journal, and from the log if its lines are fewer.

    A line leaves the journal only when the log has its entry.
    """
    subjects = {outbox_entry.subject for outbox_entry in pending}
    recorded: list[Entry] = []
    if journal.first_sequence(journals, SERVICE) > 0:
        for subject in sorted(subjects):
            listed = index.list_entries(subject=subject, phase="done")
            recorded += [indexed.entry for indexed in listed if indexed.entry.service == SERVICE]
    lines: list[Any] = [json.loads(line) for _, line in journal.read_lines(journals, SERVICE)]
    entries = [Entry.model_validate(line) for line in lines]
    return recorded + [entry for entry in entries if entry.phase == "done" and entry.subject in subjects]


def _matches_outbox(entry: Entry, outbox_entry: OutboxEntry) -> bool:
    return (
        entry.action == outbox_entry.action
        and entry.subject == outbox_entry.subject
        and entry.inputs == outbox_entry.inputs
        and entry.outputs == outbox_entry.outputs
        and all(name in entry.facts and entry.facts[name] == value for name, value in outbox_entry.facts.items())
    )
