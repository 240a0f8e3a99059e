"""Records of ingestion: row accounts balance, and the subject of a drop has one spelling."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from wellspring.records.ingestion import Drop, RowAccount

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PARTS = ("published", "quarantined", "rejected", "discarded", "waiting")
counts = st.fixed_dictionaries(dict.fromkeys(PARTS, st.integers(0, 10_000)))


@given(counts)
def test_an_account_balances_when_every_row_is_counted_once(parts: dict[str, int]):
    assert RowAccount(received=sum(parts.values()), **parts).balanced


@given(counts, st.sampled_from(PARTS))
def test_an_account_with_a_row_twice_or_lost_does_not_balance(parts: dict[str, int], part: str):
    received = sum(parts.values())
    assert not RowAccount(received=received, **{**parts, part: parts[part] + 1}).balanced
    assert not RowAccount(received=received + 1, **parts).balanced


def test_the_subject_of_a_drop_has_one_spelling():
    drop = Drop(
        tenant="t", known_since=NOON, id="clearinghouse-0123456789ab", source="clearinghouse", name="a.csv",
        digest="0" * 64, size=1, contract="medical_claim", contract_version="1.0.0", contract_digest="1" * 64,
    )  # fmt: skip
    assert drop.subject == "drop:clearinghouse-0123456789ab"
