"""Entries as the verifier reads them."""

from __future__ import annotations

from wellspring_verify.canonical import dumps_canonical
from wellspring_verify.entries import (
    PackEntry,
    parse_entry,
)

ENTRY = {
    "version": 1, "tenant": "acme", "known_since": "2026-11-25T12:00:00.000000Z", "service": "enclave", "sequence": 4,
    "actor": "service:enclave", "action": "admit", "phase": "done", "subject": "drop:d", "intent": None,
    "trace": "0" * 32,
    "inputs": [{"name": "contract:c@1", "digest": "ab"}, {"name": "original:d", "digest": None}],
    "outputs": [{"name": "rows:d/0", "digest": "cd"}], "facts": {"received": 3, "admitted": 2},
}  # fmt: skip


def entry(**changed: object) -> PackEntry:
    return parse_entry(7, dumps_canonical({**ENTRY, **changed}))
