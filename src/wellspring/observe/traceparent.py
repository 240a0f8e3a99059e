"""Read and write the `traceparent` header of W3C Trace Context, which carries a trace through HTTP."""

from __future__ import annotations

import re
import secrets

TRACEPARENT_HEADER = b"traceparent"
_PATTERN = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def parse_traceparent(value: bytes) -> str | None:
    """Return the trace id of a header; None if it is malformed, as the specification asks: a new trace starts then.

    A later version than 00 may have more fields; version ff, and ids of zeros only, are malformed.
    """
    match = _PATTERN.fullmatch(value.strip())
    if match is None:
        return None
    version, trace, parent, _, more = match.groups()
    if version == b"ff" or (version == b"00" and more) or not trace.strip(b"0") or not parent.strip(b"0"):
        return None
    return trace.decode()


def format_traceparent(trace: str) -> bytes:
    """Return the header of a response: the trace, a new span id, and the flag that the trace is recorded."""
    return f"00-{trace}-{secrets.token_hex(8)}-01".encode()
