"""One attempt: how its end is described."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from tests.builders.jobs import SUCCEED, WAIT, ScriptedWarmServer, build_assignment, build_job
from wellspring.worker import job_attempt
from wellspring.worker.job_attempt import AttemptOutcome, JobAttempt
from wellspring.worker.warm_client import WarmChild


def run_script(code: str, *, memory_bytes: int = 0) -> tuple[AttemptOutcome, list[tuple[str, int, int]]]:
    job, progress = build_job(), list[tuple[str, int, int]]()
    warm: Any = ScriptedWarmServer({"vendor": code})
    warm.subjects[job.id] = job.subject
    attempt = JobAttempt(warm, job, lambda *event: progress.append(event))
    return attempt.run_attempt(build_assignment(job, memory_bytes=memory_bytes)), progress


def test_the_result_and_the_progress_are_passed_on():
    outcome, progress = run_script("emit(event='progress', stage='fetch', done=1, total=2)\n" + SUCCEED)
    assert outcome == AttemptOutcome({"subject": "vendor"})
    assert progress == [("fetch", 1, 2)]


def test_an_error_is_passed_on():
    outcome, _ = run_script("emit(event='error', slug='refused', what='it', fix='that', verdict=None); sys.exit(77)")
    assert outcome.error == {"slug": "refused", "what": "it", "fix": "that", "verdict": None}
    assert not outcome.was_killed


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "(signal 9)"),
        ("emit(event='result', value=1); os.kill(os.getpid(), signal.SIGKILL)", "(signal 9)"),
        ("os.write(events.fileno(), b'{\"event\": '); sys.exit(3)", "(exit 3)"),
        ("emit(event='crashed', location='unforeseen: KeyError\\n  x.py:1 f'); sys.exit(1)", "(exit 1): KeyError"),
    ],
)
def test_an_unexpected_end_is_described_without_a_text_of_the_exception(code: str, ending: str):
    outcome, _ = run_script(code)
    assert outcome.was_killed
    assert outcome.error is not None
    assert outcome.error["what"] == f"the job 'ingest' ended unexpectedly {ending}"


def test_a_library_that_aborts_without_memory_is_named_as_that():
    outcome, _ = run_script("os.kill(os.getpid(), signal.SIGABRT)", memory_bytes=512 << 20)
    assert outcome.error is not None
    assert outcome.error["what"] == "the job needs more memory than its limit of 512 MB"


def test_with_the_warm_server_its_children_are_lost():
    job = build_job()
    warm: Any = ScriptedWarmServer({"vendor": WAIT})
    warm.subjects[job.id] = job.subject
    attempt = JobAttempt(warm, job, lambda *_: warm.end())
    outcome = attempt.run_attempt(build_assignment(job))
    assert (outcome.was_lost, outcome.was_killed) == (True, False)


class EndedWarmServer(ScriptedWarmServer):
    """A warm server that ends before its child has read the assignment."""

    def start_child(self, job_id: str, role: str, descriptors: Sequence[int]) -> WarmChild:
        assert (role, len(descriptors)) == ("job", 2)
        child = WarmChild(job_id)
        child.mark_ended(None)
        return child


def test_a_child_that_is_lost_before_it_reads_its_job_is_an_end_like_others():
    warm: Any = EndedWarmServer({})
    job = build_job()
    outcome = JobAttempt(warm, job, lambda *_: None).run_attempt(build_assignment(job))
    assert (outcome.was_lost, outcome.was_killed) == (True, False)


@pytest.mark.parametrize("ignore", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"])
def test_a_cancelled_child_ends_with_all_that_it_started(monkeypatch: pytest.MonkeyPatch, ignore: str):
    monkeypatch.setattr(job_attempt, "TERMINATION_SECONDS", 0.3)
    job = build_job()
    warm: Any = ScriptedWarmServer({"vendor": f"{ignore}import subprocess\nsubprocess.Popen(['sleep', '60'])\n{WAIT}"})
    warm.subjects[job.id] = job.subject
    attempt = JobAttempt(warm, job, lambda *_: threading.Thread(target=attempt.cancel_attempt).start())
    outcome = attempt.run_attempt(build_assignment(job))
    assert outcome.was_killed
    assert attempt.pid
