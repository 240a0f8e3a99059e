"""The events of a job: written while they are followed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.builders.jobs import NOON
from wellspring.records.jobs import JobEvent
from wellspring.worker import job_log
from wellspring.worker.job_log import JobLog


def event(**values: Any) -> JobEvent:
    return JobEvent(
        **{"at": NOON, "attempt": 1, "event": "progress", "stage": "fetch", "done": 1, "total": 1, **values}
    )


def test_events_are_read_in_order_and_of_one_job(tmp_path: Path):
    log = JobLog(tmp_path)
    events = [event(stage=stage) for stage in "abc"]
    for item in events:
        log.append_event("1", item)
    log.append_event("2", event())
    assert list(log.read_events("1")) == events
    log.remove_events("1")
    log.remove_events("1")
    assert list(log.read_events("1")) == []


def test_a_follower_sees_each_event_until_the_job_has_ended(tmp_path: Path):
    log, ended = JobLog(tmp_path), threading.Event()
    stages: list[str] = []
    follower = threading.Thread(
        target=lambda: stages.extend(item.stage for item in log.follow_events("1", ended.is_set)), daemon=True
    )
    log.append_event("1", event(stage="before"))
    follower.start()
    log.append_event("1", event(stage="while"))
    log.append_event("1", event(stage="last"))
    ended.set()
    log.wake_followers()
    follower.join(60)
    assert stages == ["before", "while", "last"]


def test_frequent_progress_is_thinned_out_but_never_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(job_log, "MIN_PROGRESS_INTERVAL", 60.0)
    log = JobLog(tmp_path)
    for done in range(1, 101):
        log.append_event("1", event(done=done, total=100))
    assert [item.done for item in log.read_events("1")] == [1, 100]


def test_a_line_that_was_cut_is_left_out(tmp_path: Path):
    log = JobLog(tmp_path)
    log.append_event("1", event(stage="first"))
    with (tmp_path / "1.jsonl").open("ab") as file:
        file.write(b'{"at": "20\n')
    log.append_event("1", event(stage="second"))
    assert [item.stage for item in log.read_events("1")] == ["first", "second"]


def test_a_full_disk_ends_no_job(tmp_path: Path):
    log = JobLog(tmp_path / "missing")
    log.append_event("1", event())
    assert list(log.read_events("1")) == []
