"""Entries of answers as the prediction service writes them, for benchmarks of the log."""

from __future__ import annotations

import base64
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
    """Build the entry of an answer with three views, as the prediction service does.

    Digests, tokens and the score differ for each answer; the rows came with one of 100 drops, and two of them are of
    one of 100 earlier editions.
    """
    digest = [hashlib.sha256(f"{number}-{part}".encode()).hexdigest() for part in range(8)]
    tokens = [
        base64.b32encode(hashlib.sha256(f"{number}/{part}".encode()).digest())[:26].decode().lower()
        for part in range(3)
    ]
    draw = int(digest[6][:12], 16)
    facts: dict[str, JsonValue] = {
        "model": "denials",
        "mode": "governed",
        "role": "stable",
        "request_digest": digest[1],
        "score": (int(digest[6][12:25], 16) / 2**52).hex(),
        "decision": "pays",
        "freshness": "fresh",
        "principal": "service:portal",
        "policy_digest": "5" * 64,
        "views": {
            view: [
                f"2026-{1 + draw % 10:02d}-{1 + draw % 10:02d}T12:00:00.000000Z",
                draw % 1_000_003,
                f"{view}_k1_{token}",
            ]
            for (view, token) in zip(("claim", "member", "provider"), tokens, strict=True)
        },
        "editions": {
            view: hashlib.sha256(f"edition {(draw >> shift) % 100}".encode()).hexdigest()[:12]
            for view, shift in (("member", 8), ("provider", 20))
        },
        "latency_us": 1000 + draw % 500,
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
