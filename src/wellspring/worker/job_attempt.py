"""One attempt of a job, as the worker sees it: its credential, its child, its events and how it ended."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from pydantic import JsonValue

from wellspring.errors import WellspringError, encode_error
from wellspring.records.jobs import Job
from wellspring.worker.job_process import JobAssignment, build_memory_error
from wellspring.worker.warm_client import WarmChild, WarmClient

TERMINATION_SECONDS = 5.0
"""Seconds between SIGTERM and SIGKILL for a job that is cancelled."""
_RERUN_FIX = "run the command again: no data is lost, and an unfinished step is completed first"


class AttemptOutcome(NamedTuple):
    """How an attempt ended.

    error: encoded; None if it succeeded. was_lost: the warm server ended, and the child with it, or before it could
    start the child; or the worker was stopped before that. was_killed: the child
    ended without a result, by a signal or an unforeseen exception.
    """

    value: JsonValue = None
    error: dict[str, JsonValue] | None = None
    was_lost: bool = False
    was_killed: bool = False


ProgressHandler = Callable[[str, int, int], None]


class JobAttempt:
    """Runs one attempt. `run_attempt` is called in a thread of its own; `cancel_attempt` from any thread."""

    def __init__(self, warm: WarmClient, job: Job, on_progress: ProgressHandler) -> None:
        self.job = job
        self._warm = warm
        self._on_progress = on_progress
        self._child: WarmChild | None = None
        self._cancelled = threading.Event()

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None else 0

    def has_warm_server(self) -> bool:
        """Return whether the warm server that starts its child runs."""
        return self._warm.is_alive()

    def run_attempt(self, assignment: JobAssignment) -> AttemptOutcome:
        """Start the child, pass it the assignment, and return how it ended. Raises Unavailable if it cannot start."""
        request_reader, request_writer = os.pipe2(os.O_CLOEXEC)
        events_reader, events_writer = os.pipe2(os.O_CLOEXEC)
        # Unbuffered: what a child that has ended did not read must not be written again when the file is closed.
        with os.fdopen(events_reader, "rb") as events, os.fdopen(request_writer, "wb", buffering=0) as request:
            try:
                child = self._warm.start_child(self.job.id, "job", (request_reader, events_writer))
            finally:
                os.close(request_reader)
                os.close(events_writer)
            self._child = child
            if self._cancelled.is_set():
                child.signal_group(signal.SIGTERM)
            with suppress(BrokenPipeError):
                rest = memoryview(assignment.encode())
                while rest:
                    rest = rest[request.write(rest) :]
            last = self._read_events(events)
        child.wait_ended()
        return self._describe_end(child, last, assignment.memory_bytes)

    def cancel_attempt(self) -> None:
        """Ask the child to end; kill it and what it started if it does not end in time."""
        self._cancelled.set()
        if self._child is not None:
            self._child.signal_group(signal.SIGTERM)
            if not self._child.wait_ended(TERMINATION_SECONDS):
                self._child.signal_group(signal.SIGKILL)

    def _read_events(self, events: Any) -> dict[str, Any]:
        """Pass the progress on until the child closes its end; return the last other event."""
        last: dict[str, Any] = {}
        for line in events:
            # A killed child may leave an incomplete line.
            with suppress(ValueError):
                event = json.loads(line)
                if event["event"] == "progress":
                    self._on_progress(str(event["stage"]), int(event["done"]), int(event["total"]))
                else:
                    last = event
        return last

    def _describe_end(self, child: WarmChild, last: dict[str, Any], memory_bytes: int) -> AttemptOutcome:
        match last:
            case {"event": "result", "value": value} if child.status == 0:
                return AttemptOutcome(value)
            case {"event": "error", **error}:
                return AttemptOutcome(error=error)
            case {"event": "crashed", "location": str(location)}:
                ending = location.partition("\n")[0].removeprefix("unforeseen: ")
                return AttemptOutcome(error=self._build_error(f"(exit 1): {ending}"), was_killed=True)
            case _:
                pass
        if child.is_lost:
            return AttemptOutcome(error=self._build_error("(the worker was stopped)"), was_lost=True)
        status = child.status or 0
        if memory_bytes and status in {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS}:
            # A library in C cannot raise an error when it gets no memory.
            return AttemptOutcome(error=encode_error(build_memory_error(memory_bytes)), was_killed=True)
        ending = f"(signal {-status})" if status < 0 else f"(exit {status})"
        return AttemptOutcome(error=self._build_error(ending), was_killed=True)

    def _build_error(self, ending: str) -> dict[str, JsonValue]:
        return encode_error(WellspringError(f"the job {self.job.kind!r} ended unexpectedly {ending}", fix=_RERUN_FIX))
