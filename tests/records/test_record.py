"""Base records: a tenant, a UTC instant, and no undeclared fields."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from wellspring.records.record import Record, format_instant
from wellspring.records.trust import Entry, Ref

NOON = datetime(2026, 1, 2, 12, 0, 0, 5, tzinfo=UTC)


def test_an_instant_has_one_format():
    assert format_instant(NOON) == "2026-01-02T12:00:00.000005Z"
    written = Record(tenant="t", known_since=NOON).model_dump_json()
    assert Record.model_validate_json(written) == Record(tenant="t", known_since=NOON)
    assert "2026-01-02T12:00:00.000005Z" in written


@pytest.mark.parametrize("zone", [None, timezone(timedelta(hours=1))])
def test_an_instant_outside_utc_is_refused(zone: timezone | None):
    with pytest.raises(ValidationError, match="UTC"):
        Record(tenant="t", known_since=NOON.replace(tzinfo=zone))


def test_a_record_is_frozen_and_refuses_unknown_fields():
    record = Record(tenant="t", known_since=NOON)
    with pytest.raises(ValidationError):
        record.tenant = "u"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValidationError, match="Extra inputs"):
        Record.model_validate({"tenant": "t", "known_since": NOON, "member_name": "x"})


def test_an_entry_id_is_service_and_sequence():
    entry = Entry(
        tenant="t", known_since=NOON, service="worker", sequence=3, actor="worker", action="stage", phase="done",
        subject="drop:a", inputs=(Ref(name="rows:a/0", digest="0" * 64),), trace="0" * 32,
    )  # fmt: skip
    assert entry.id == "worker:3"
