"""Facts of an entry are read by type; a fact that is missing or of another type is empty."""

from datetime import UTC, datetime

from wellspring.records.trust import Entry

ENTRY = Entry(
    tenant="t", known_since=datetime(2026, 1, 2, tzinfo=UTC), service="worker", sequence=3, actor="service:worker",
    action="admit", phase="done", subject="drop:a", trace="0" * 32,
    facts={"user": "user:bo", "received": 7, "rows": {}},
)  # fmt: skip


def test_a_text_fact_is_a_text_or_empty():
    assert (ENTRY.text("user"), ENTRY.text("received"), ENTRY.text("absent")) == ("user:bo", "", "")


def test_a_count_is_an_integer_or_zero():
    assert (ENTRY.count("received"), ENTRY.count("user"), ENTRY.count("rows"), ENTRY.count("absent")) == (7, 0, 0, 0)


def test_an_id_is_the_service_and_its_sequence():
    assert ENTRY.id == "worker:3"
