"""The progress of each job: one file per job, one JSON line per event, read while it is written."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from wellspring.records.jobs import JobEvent

MIN_PROGRESS_INTERVAL = 0.1
"""Seconds between two progress events of a stage that are kept; the last one of a stage is always kept."""
_POLL_SECONDS = 1.0


class JobLog:
    """The event files of all jobs, in one folder. Safe for threads: one writes, any number follow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._appended = threading.Condition()
        self._last_progress: dict[str, tuple[str, float]] = {}

    def append_event(self, job_id: str, event: JobEvent) -> None:
        """Append one event and wake the followers. An event that cannot be written (full disk) is left out."""
        if event.event == "progress" and self._is_too_soon(job_id, event):
            return
        line = event.model_dump_json(exclude_defaults=True).encode() + b"\n"
        with suppress(OSError):
            descriptor = os.open(self._path(job_id), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        self.wake_followers()

    def wake_followers(self) -> None:
        """Let every follower look at the state of its job."""
        with self._appended:
            self._appended.notify_all()

    def read_events(self, job_id: str) -> Iterator[JobEvent]:
        """Yield the events of a job so far."""
        return self.follow_events(job_id, lambda: True)

    def follow_events(self, job_id: str, is_ended: Callable[[], bool]) -> Iterator[JobEvent]:
        """Yield the events of a job until it has ended and all are read."""
        offset = 0
        while True:
            ended = is_ended()
            content = self._read_from(job_id, offset)
            complete = content[: content.rfind(b"\n") + 1]
            offset += len(complete)
            for line in complete.splitlines():
                # A line that a full disk cut is left out.
                with suppress(ValueError):
                    yield JobEvent.model_validate_json(line)
            if ended:
                return
            if not complete:
                with self._appended:
                    self._appended.wait(_POLL_SECONDS)

    def remove_events(self, job_id: str) -> None:
        """Remove the events of a job that is no longer kept."""
        self._path(job_id).unlink(missing_ok=True)

    def _is_too_soon(self, job_id: str, event: JobEvent) -> bool:
        now, (stage, last) = time.monotonic(), self._last_progress.get(job_id, ("", 0.0))
        if event.done < event.total and event.stage == stage and now - last < MIN_PROGRESS_INTERVAL:
            return True
        self._last_progress[job_id] = (event.stage, now)
        return False

    def _read_from(self, job_id: str, offset: int) -> bytes:
        try:
            with self._path(job_id).open("rb") as file:
                file.seek(offset)
                return file.read()
        except FileNotFoundError:
            return b""

    def _path(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.jsonl"
