"""Which lines need no signature of their own: those of answers, in the journal of the API."""

from __future__ import annotations

import pytest

from tests.builders.journal_keys import SERVICE_KEYS, journal_key
from tests.builders.recording_step import FixedClock
from wellspring.records.trust import Entry
from wellspring.trust.ledger.journal import encode_entry
from wellspring.trust.ledger.line_signature import find_line_fault


def build_entry(service: str, action: str) -> Entry:
    return Entry(
        tenant="acme", known_since=FixedClock().now(), service=service, sequence=0, actor=f"service:{service}",
        action=action, phase="done", subject="prediction:1", trace="0" * 32,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("service", "action", "accepted"),
    [
        ("api", "predict", True),
        ("api", "read_features", True),
        ("api", "create_key", False),
        ("worker", "predict", False),
        ("api-2", "predict", False),
    ],
)
def test_only_an_answer_of_the_api_needs_no_signature(service: str, action: str, accepted: bool):
    entry = build_entry(service, action)
    assert (find_line_fault(entry, encode_entry(entry), SERVICE_KEYS) == "") is accepted


def test_a_wrong_signature_is_refused_also_where_none_is_needed():
    entry = build_entry("api", "predict")
    signature = journal_key("worker").sign_line(encode_entry(entry))
    entry = entry.model_copy(update={"signature": signature})
    assert "not certified for the journal api" in find_line_fault(entry, encode_entry(entry), SERVICE_KEYS)
