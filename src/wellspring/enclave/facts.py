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

from wellspring.enclave.judging import Judgement
from wellspring.records.data import Contract
from wellspring.records.observe import Act, Step
from wellspring.records.record import stamp
from wellspring.records.trust import Entry, Ref
from wellspring.records.verdict import Reason
from wellspring.trust.ledger import journal
from wellspring.trust.vault.kept import Fact, Kept, Part
from wellspring.trust.vault.postgres import VaultStore
from wellspring_verify import canonical

SERVICE = "enclave"
_MOST = 200
"""Reasons in one entry at most: an entry has 64 KiB."""


def fill(act: Act, fact: Fact) -> None:
    """Write a fact into the step under way, before the store is asked to keep it: what no entry may hold shows here."""
    act.note(**fact.facts)
    act.reads(*fact.inputs)
    act.writes(*fact.outputs)


def tell_untold(store: VaultStore, *, step: Step, journals: Path) -> int:
    """Tell what a crash left untold; return how many facts. Called at start and before each act."""
    untold = store.untold()
    if not untold:
        return 0
    subjects = {fact.subject for fact in untold}
    written = [entry for entry in _own_entries(journals) if entry.phase == "done" and entry.subject in subjects]
    for fact in untold:
        if not any(_tells(entry, fact) for entry in written):
            with step(fact.action, fact.subject, inputs=fact.inputs, outputs=fact.outputs, facts=fact.facts):
                pass
        store.told(fact.key)
    return len(untold)


def landed(kept: Kept) -> Fact:
    """Say that a drop is kept: its bytes by digest, its original by the digest of the ciphertext."""
    drop = kept.drop
    return Fact(
        key=f"land/{drop.id}",
        action="land",
        subject=drop.subject,
        inputs=(Ref(name=f"source:{drop.source}/{drop.name}", digest=drop.digest),),
        outputs=(Ref(name=f"original:{drop.id}", digest=kept.original_digest),),
        facts={
            "name": drop.name,
            "size": drop.size,
            "received": None,
            "contract": drop.contract,
            "contract_version": drop.contract_version,
            "retention_until": stamp(kept.retention_until),
        },
    )


def admitted(kept: Kept, part: Part, contract: Contract, judgement: Judgement) -> Fact:
    """Say what came of a drop, or of its rows that waited: counts, digests and reasons, never a value."""
    drop = kept.drop
    numbers = canonical.dumps(sorted(judgement.waiting))
    rows = (Ref(name=f"rows:{drop.id}/{part.part}", digest=part.rows_digest),) if part.rows_digest else ()
    return Fact(
        key=f"admit/{drop.id}/{part.part}",
        action="admit",
        subject=drop.subject,
        inputs=(
            Ref(name=f"original:{drop.id}", digest=kept.original_digest),
            Ref(name=f"contract:{contract.name}@{contract.version}", digest=contract.digest),
        ),
        outputs=rows,
        facts={
            "part": part.part,
            "outcome": part.verdict.outcome,
            "received": part.received,
            "admitted": part.admitted,
            "quarantined": part.quarantined,
            "masked": part.masked,
            "reasons": _counted(part.reasons, contract),
            "notes": _counted(judgement.notes, contract),
            "quarantined_rows": hashlib.sha256(numbers).hexdigest(),
        },
    )


def _counted(reasons: tuple[Reason, ...], contract: Contract) -> list[JsonValue]:
    """Write reasons by code and count; a column only if the contract names it: another name comes from the file."""
    declared = {column.name for column in contract.columns} | {rule.name for rule in contract.rules}
    return [
        {
            "code": reason.code,
            "column": reason.column if reason.column and set(reason.column.split(",")) <= declared else None,
            "count": reason.count,
        }
        for reason in reasons[:_MOST]
    ]


def _own_entries(journals: Path) -> list[Entry]:
    lines: list[Any] = [json.loads(line) for _, line in journal.read(journals, SERVICE)]
    return [Entry.model_validate(line) for line in lines]


def _tells(entry: Entry, fact: Fact) -> bool:
    return (
        entry.action == fact.action
        and entry.subject == fact.subject
        and entry.inputs == fact.inputs
        and entry.outputs == fact.outputs
        and all(name in entry.facts and entry.facts[name] == value for name, value in fact.facts.items())
    )
