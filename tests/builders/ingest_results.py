"""Results of the worker's `ingest` job, as the command line receives them."""

from __future__ import annotations

from typing import Any

ACCOUNT = {"received": 10, "published": 8, "copies": 0, "quarantined": 2, "rejected": 0, "discarded": 0, "waiting": 0}
EDITION = {"id": "abc", "level": "landed"}


def ingest_result(**changes: Any) -> dict[str, Any]:
    """Return a result; by default one published drop with two quarantined rows."""
    outcome = {"name": "a.csv", "status": "published", "drop": "c-1", "contract": "claim", "account": ACCOUNT}
    reason = {"code": "enum", "message": "not in the list", "column": "kind", "count": 2}
    return {
        "source": "clearinghouse",
        "verdict": {"outcome": "pass", "reasons": []},
        "edition": EDITION,
        "newly_published": True,
        "age_seconds": 1,
        "files": [{**outcome, "reasons": [reason]}],
        **changes,
    }
