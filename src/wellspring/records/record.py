"""Define the base of every record: a tenant, and the instant since which the record is known."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer


def _require_utc(instant: datetime) -> datetime:
    offset = instant.utcoffset()
    if offset is None or offset:
        raise ValueError("an instant must be in UTC")
    return instant


def format_instant(instant: datetime) -> str:
    """Format a UTC instant for JSON, the ledger and file names: 2026-11-25T15:32:07.000000Z."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


Instant = Annotated[datetime, AfterValidator(_require_utc), PlainSerializer(format_instant, when_used="json")]
Digest = str
"""SHA-256 as 64 lower-case hex digits."""


class Frozen(BaseModel):
    """Base of immutable values; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Record(Frozen):
    """Base of stored records. tenant: the organization it belongs to. known_since: when it became known, UTC."""

    tenant: str
    known_since: Instant
