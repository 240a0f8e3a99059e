"""The trace of one command: its jobs and requests, and so the ledger entries that they cause, have it.

A program that runs commands and has a trace of its own passes it in the environment variable TRACEPARENT, as
[W3C Trace Context](https://www.w3.org/TR/trace-context/) writes it.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

TRACEPARENT_VARIABLE = "TRACEPARENT"
_TRACE_BYTES = 16
_COMMAND_TRACE: ContextVar[str] = ContextVar("command_trace")


@contextmanager
def begin_trace(environ: Mapping[str, str]) -> Generator[str]:
    """Begin the trace of a command, and yield it; continue that of TRACEPARENT if it is well-formed."""
    token = _COMMAND_TRACE.set(_parse_environment(environ) or secrets.token_hex(_TRACE_BYTES))
    try:
        yield _COMMAND_TRACE.get()
    finally:
        _COMMAND_TRACE.reset(token)


def get_command_trace() -> str:
    """Return the trace of the command that runs (32 hex digits); a new one outside of a command."""
    return _COMMAND_TRACE.get(None) or secrets.token_hex(_TRACE_BYTES)


def _parse_environment(environ: Mapping[str, str]) -> str | None:
    value = environ.get(TRACEPARENT_VARIABLE, "")
    if not value.isascii() or not value:
        return None
    from wellspring.observe.traceparent import parse_traceparent

    return parse_traceparent(value.encode("ascii"))
