"""What every record has: a tenant, and the instant since which it is known."""

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
    """Write an instant the one way the house writes it: 2026-11-25T15:32:07.000000Z."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


Instant = Annotated[datetime, AfterValidator(_require_utc), PlainSerializer(format_instant, when_used="json")]
Digest = str
"""SHA-256 in 64 lower-case hex digits."""


class Frozen(BaseModel):
    """A value: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Record(Frozen):
    """A value that the house remembers. tenant: employer group or administrator. known_since: UTC."""

    tenant: str
    known_since: Instant
