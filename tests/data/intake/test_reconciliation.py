from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wellspring.data.intake.reconciliation import list_file_notes, reconcile_drop
from wellspring.records.ingestion import RowAccount
from wellspring.records.trust import Entry, IndexedEntry

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def line(action: str, **facts: Any) -> IndexedEntry:
    entry = Entry(
        tenant="acme", known_since=NOW, service="enclave", sequence=0, actor="service:enclave", action=action,
        phase="done", subject="drop:d", facts=facts, trace="0" * 32,
    )  # fmt: skip
    return IndexedEntry(index=0, entry=entry)


def admit(part: int, *, received: int, admitted: int, outcome: str = "pass", **more: Any) -> IndexedEntry:
    quarantined = received - admitted
    return line(
        "admit",
        replay_number=part,
        received=received,
        admitted=admitted,
        quarantined=quarantined,
        outcome=outcome,
        **more,
    )


def test_drop_without_admission_has_an_empty_account():
    assert reconcile_drop([line("land")], published=0) == RowAccount()


def test_rejected_drop_counts_all_rows_as_rejected():
    stopped = admit(0, received=9, admitted=0, outcome="fail")
    assert reconcile_drop([stopped], published=0) == RowAccount(received=9, rejected=9)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_account_balances_with_replayed_discarded_and_waiting_rows(good: int, mended: int, lost: int, remaining: int):
    bad = mended + lost + remaining
    lines = [
        admit(0, received=good + bad, admitted=good),
        admit(1, received=bad, admitted=mended),
        line("expire", discarded=lost),
    ]
    matches = reconcile_drop(lines, published=good)
    assert matches.balanced
    assert (matches.waiting, matches.quarantined, matches.discarded) == (mended, remaining, lost)


def test_a_row_that_readers_see_twice_does_not_balance():
    assert not reconcile_drop([admit(0, received=3, admitted=3)], published=4).balanced


def test_what_was_noted_about_a_file_is_reported_with_messages_and_counts():
    notes = [
        {"code": "undeclared_column", "column": None, "count": 7, "message": "7 values stay, with ssn in 2 rows"},
        {"code": "bom", "column": None, "count": 1, "message": "it begins with a byte order mark"},
        {"code": "near_equal", "column": "id", "count": 3, "message": "ids differ only in case"},
    ]
    output = list_file_notes([admit(0, received=7, admitted=7, findings=notes)])
    assert [(reason.code, reason.column, reason.count, reason.message) for reason in output] == [
        ("undeclared_column", None, 7, "7 values stay, with ssn in 2 rows"),
        ("bom", None, 1, "it begins with a byte order mark"),
        ("near_equal", "id", 3, "ids differ only in case"),
    ]


def test_unpublished_rows_of_an_expired_original_are_discarded():
    lines = [
        admit(0, received=9, admitted=6, copies={"vendor-1": 0}),
        line("expire", discarded=3),
        line("expire", discarded=6, replay_number=0, unpublished=True),
    ]
    assert reconcile_drop(lines, published=0) == RowAccount(received=9, discarded=9)
