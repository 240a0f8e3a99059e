"""Entries of answers as the prediction service writes them, for benchmarks of the log."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import JsonValue

from wellspring.records.trust import Entry, Ref
from wellspring.trust.ledger.journal import Journal, encode_entry

LINES_PER_FILE = 20_000


def write_journal(journals: Path, count: int) -> None:
    """Write a journal of answers, without waiting for each line."""
    folder = journals / "api"
    folder.mkdir(parents=True)
    for first in range(0, count, LINES_PER_FILE):
        lines = [
            encode_entry(build_answer(sequence, sequence))
            for sequence in range(first, min(first + LINES_PER_FILE, count))
        ]
        (folder / f"{first:012d}.log").write_bytes(b"\n".join(lines) + b"\n")


def append_answer(journal: Journal, number: int) -> Entry:
    """Append the entry of one answer, durably."""
    answer = build_answer(0, number)
    return journal.append_entry(
        actor=answer.actor,
        action=answer.action,
        phase="done",
        subject=answer.subject,
        inputs=answer.inputs,
        outputs=answer.outputs,
        facts=answer.facts,
        trace=answer.trace,
    )


def build_answer(sequence: int, number: int) -> Entry:
    """Build the entry of an answer with three views, as the prediction service does."""
    digest = [hashlib.sha256(f"{number}-{part}".encode()).hexdigest() for part in range(8)]
    token = f"claim_k1_{digest[0][:26]}"
    facts: dict[str, JsonValue] = {
        "model": "denials",
        "request_digest": digest[1],
        "score": (number % 1000 / 1000).hex(),
        "decision": "pays",
        "freshness": "fresh",
        "principal": "service:portal",
        "policy_digest": "5" * 64,
        "views": {
            view: ["2026-11-25T12:00:00.000000Z", number, token]
            for view in ("claim_features", "provider_history", "member_history")
        },
        "editions": {},
        "latency_us": 1000 + number % 500,
    }
    return Entry(
        tenant="wellspring-benefits",
        known_since=datetime(2026, 11, 25, 12, tzinfo=UTC) + timedelta(milliseconds=number),
        service="api",
        sequence=sequence,
        actor="service:api",
        action="predict",
        phase="done",
        subject=f"prediction:{digest[2][:20]}",
        inputs=(
            Ref(name="release:7c1f0a9be2d4", digest="7" * 64),
            Ref(name="edition:0a9be2d47c1f", digest="8" * 64),
            Ref(name="key:7c1f0a9be2d47c1f"),
            Ref(name=f"vector:{digest[2][:20]}", digest=digest[3]),
        ),
        outputs=(Ref(name=f"answer:{digest[2][:20]}", digest=digest[4]),),
        facts=facts,
        trace=digest[5][:32],
    )
