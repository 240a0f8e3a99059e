"""Measure how soon a command's job starts, and how soon a rollback acts while a training runs.

`python -m benchmarks.jobs`. The project runs on its real servers; the model has two releases, approved by two people.
Exit 1: a job starts later than MAX_START_SECONDS after its command (90 %), or the rollback waits for the training.

- start: from the start of the process of `wellspring outcome record` until the worker has started its job's process.
- rollback: a training runs, and a person takes back the live release. Counted from the submission of the job, which
  follows the login: until the job starts, until its first entry in a journal, until it has ended, and until the API
  answers with the former release. One thread asks the API all the time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, percentile, render_table, write_result
from tests.crash.model_lifecycle import LifecycleKiller
from tests.crash.serving_project import MODEL, ServingProject
from wellspring.errors import WellspringError

MAX_START_SECONDS = 0.5
COMMANDS = 20
WAIT_SECONDS = 120.0


class AnswerWatch:
    """Asks the API for one prediction after the other, and notes when a release first answered."""

    def __init__(self, project: ServingProject) -> None:
        self.first_answers: dict[str, float] = {}
        self._project = project
        self._key = project.sample_keys(1)[0]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> AnswerWatch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, release: str) -> float:
        """Return the Unix time of the first answer of a release. Raises TimeoutError."""
        deadline = time.monotonic() + WAIT_SECONDS
        while release not in self.first_answers:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the API did not answer with {release}")
            self._stop.wait(0.01)
        return self.first_answers[release]

    def _ask(self) -> None:
        with self._project.client() as client:
            while not self._stop.is_set():
                # While the release changes, the API may ask to try again.
                with suppress(WellspringError):
                    answer = client.predict(MODEL, self._key, include_reasons=False)
                    self.first_answers.setdefault(answer.release, time.time())


def measure_starts(project: ServingProject, commands: int) -> list[float]:
    """Return for each of several commands the seconds from its start to the start of its job's process."""
    delays: list[float] = []
    for _ in range(commands):
        started = time.time()
        project.must("outcome", "record")
        (job,) = _list_jobs(project, 1)
        delays.append(_read_events(project, job["id"])["started"] - started)
    return delays


def measure_rollback(project: ServingProject, former: str) -> dict[str, float]:
    """Roll back while a training runs; return seconds from the submission of the rollback. Raises AssertionError."""
    with AnswerWatch(project) as watch, project.start("train", MODEL) as training:
        _wait_for_running(project, "train", training)
        rolled_back = project.act("ines", "release", "rollback", MODEL)
        assert rolled_back.exit_code == 0, rolled_back.screen
        answered = watch.wait_for(former)
        jobs = {job["kind"]: job for job in _list_jobs(project, 5)}
        assert jobs["train"]["state"] == "running", "the training ended before the rollback"
        training.wait(WAIT_SECONDS)
    job = jobs["rollback"]
    submitted = _instant(job["known_since"])
    # All: the answers of the meantime come after the rollback.
    entries = project.must("ledger", "tail", "-n", "1000000")
    acts = [_instant(entry["known_since"]) for entry in entries if entry["action"] == "rollback"]
    return {
        "started": _instant(job["started_at"]) - submitted,
        "first entry": min(act for act in acts if act >= submitted) - submitted,
        "ended": _instant(job["ended_at"]) - submitted,
        "first answer of the former release": answered - submitted,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, store the figures; return 1 if a minimum is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--commands", type=int, default=COMMANDS)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="ws-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        lifecycle = LifecycleKiller(folder / "project")
        try:
            figures: dict[str, Any] = {"machine": describe_machine(folder)}
            lifecycle.prepare()
            former = lifecycle.release_next()
            delays = measure_starts(lifecycle.project, options.commands)
            figures["start_s"] = {"p50": percentile(delays, 0.5), "p90": percentile(delays, 0.9), "max": max(delays)}
            figures["rollback_s"] = measure_rollback(lifecycle.project, former)
        finally:
            ServingProject.down(folder / "project")
    rows = [(f"command to job, {name}", f"{1000 * value:,.0f}") for name, value in figures["start_s"].items()]
    rows += [(f"rollback, {name}", f"{1000 * value:,.0f}") for name, value in figures["rollback_s"].items()]
    print(render_table(("milliseconds", ""), rows))
    print(f"all figures in {write_result('jobs', figures)}")
    return print_verdict(figures)


def print_verdict(figures: dict[str, Any]) -> int:
    """Print the figures that have a limit on the last line, and return 1 if one is missed."""
    start, waited = figures["start_s"]["p90"], figures["rollback_s"]["started"]
    missed = start > MAX_START_SECONDS or waited > MAX_START_SECONDS
    print(
        f"{'missed' if missed else 'met'}: a job starts {start:.2f} s after its command at 90 % (limit "
        f"{MAX_START_SECONDS}), a rollback waits {waited:.2f} s beside a training, and the former release answers "
        f"after {figures['rollback_s']['first answer of the former release']:.2f} s"
    )
    return int(missed)


def _wait_for_running(project: ServingProject, kind: str, command: subprocess.Popen[str]) -> None:
    """Wait until a job of a kind runs and has shown progress, so that its work has begun."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and command.poll() is None:
        jobs = [job for job in _list_jobs(project, 5) if (job["kind"], job["state"]) == (kind, "running")]
        if jobs and "progress" in _read_events(project, jobs[0]["id"]):
            return
    raise AssertionError(f"no {kind} was running")


def _list_jobs(project: ServingProject, count: int) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = project.must("job", "list", "--all", "--limit", str(count))
    return jobs


def _read_events(project: ServingProject, job: str) -> dict[str, float]:
    """Return the Unix time of the first event of each kind of a job."""
    path = project.project.jobs_dir / f"{job}.jsonl"
    instants: dict[str, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        instants.setdefault(event["event"], _instant(event["at"]))
    return instants


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    sys.exit(main())
