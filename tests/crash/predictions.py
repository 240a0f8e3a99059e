"""Kills -9 each server of a project under 200 predictions a second and checks that none was lost or wrong.

`python -m tests.crash --predictions` kills all of them; `tests/journeys/test_predictions.py` runs a sample.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.crash.serving_project import MODEL, ServingProject
from wellspring.client import Client
from wellspring.errors import WellspringError

VICTIMS = ("api", "valkey", "mlflow", "openbao", "enclave", "postgres", "witness", "sequencer", "sftp", "supervisor")
NEEDED = {"api", "valkey", "supervisor"}
"""Servers that predictions need. While any other server is dead, no request may fail."""
THREADS, RATE = 8, 200
BEFORE = AFTER = 1.0
DEADLINE = 60.0


class RequestResult(NamedTuple):
    """The result of one request. instant: monotonic clock; error: the slug of the error, '' for a prediction."""

    instant: float
    key: str
    error: str = ""
    prediction: str = ""
    score: float = 0.0


class KillResult(NamedTuple):
    """The result of one kill.

    seconds: until correct predictions resumed, 0.0 if no request failed; up: until the server was restarted.
    answered: ids of the predictions that clients received.
    """

    server: str
    seconds: float
    up: float
    answered: tuple[str, ...]
    failed: Mapping[str, int]
    error: tuple[str, ...]

    def __str__(self) -> str:
        failures = ", ".join(f"{count} {kind}" for kind, count in sorted(self.failed.items())) or "none"
        return (
            f"{self.server:<10} predictions after {self.seconds:5.2f} s, up after {self.up:5.2f} s; "
            f"{len(self.answered):,} predictions, failed: {failures}"
        )


class PredictionLoad:
    """Sends 200 requests a second from 8 threads, each over one connection, and keeps the results."""

    def __init__(self, project: ServingProject, keys: list[dict[str, str]]) -> None:
        self.results: list[RequestResult] = []
        self._project = project
        self._keys = keys
        self._ended = threading.Event()

    @contextmanager
    def running(self) -> Iterator[PredictionLoad]:
        """Send requests until the end of the block."""
        threads = [
            threading.Thread(target=self._send_requests, args=(offset,), daemon=True) for offset in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def wait(self, seconds: float) -> None:
        self._ended.wait(seconds)

    def wait_for_predictions(self, since: float) -> bool:
        """Wait for a quarter of a second's predictions after `since` (monotonic clock); False on timeout."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            if sum(item.instant > since and not item.error for item in self.results[-RATE:]) >= RATE // 4:
                return True
            self._ended.wait(0.02)
        return False

    def _send_requests(self, offset: int) -> None:
        gap = THREADS / RATE
        due = time.monotonic() + offset / RATE
        turn = offset
        with Client(self._project.project, timeout=5.0) as client:
            while not self._ended.wait(max(0.0, due - time.monotonic())):
                key = self._keys[turn % len(self._keys)]
                named = _key_name(key)
                try:
                    result = client.predict(MODEL, key, include_reasons=False)
                    heard = RequestResult(time.monotonic(), named, "", result.id, result.score)
                except WellspringError as exc:
                    heard = RequestResult(time.monotonic(), named, exc.slug)
                self.results.append(heard)
                turn += THREADS
                # Requests missed while the server did not respond are not sent later.
                due = max(due + gap, time.monotonic() - gap)


def kill_server(project: ServingProject, server: str, keys: list[dict[str, str]]) -> KillResult:
    """Kill one server under load, restore it, and check the results.

    `find_lost_predictions` checks that the predictions of one or more kills are in the journal and the ledger.
    """
    expected = predict_scores(project, keys)
    load = PredictionLoad(project, keys)
    with load.running():
        load.wait(BEFORE)
        pid = project.server(server)
        assert pid is not None, f"{server} does not run"
        started = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        project.restore_server(server)
        up = time.monotonic()
        again = load.wait_for_predictions(up)
        load.wait(AFTER)
    heard = sorted(load.results)
    failures = [item.instant for item in heard if item.error]
    first = next(
        (item.instant for item in heard if not item.error and item.instant > max(failures, default=0.0)), started
    )
    error = [] if again else [f"no prediction succeeded after {server} was killed"]
    if failures and server not in NEEDED:
        error.append(f"{len(failures)} requests failed without {server}, which none of them needs")
    strange = [item for item in heard if not item.error and item.score != expected[item.key]]
    if strange:
        error.append(f"{len(strange)} predictions differ from those before the kill")
    return KillResult(
        server,
        max(0.0, first - started) if failures else 0.0,
        up - started,
        tuple(item.prediction for item in heard if not item.error),
        Counter(item.error for item in heard if item.error),
        tuple(error),
    )


def find_lost_predictions(project: ServingProject, predictions: list[str]) -> list[str]:
    """Describe received predictions that are missing in the verified ledger, or that it has twice."""
    error: list[str] = []
    # The first lines of a journal leave it when they are packed.
    sequences = [line["sequence"] for line in project.journal("api")]
    if sequences != list(range(sequences[0], sequences[0] + len(sequences))):
        error.append("the journal of the API has a gap or a double")
    # `status` integrates what the journals hold.
    project.must("status")
    audited = project.run("ledger", "verify")
    if audited.code:
        error.append(f"the ledger does not verify: {audited.error}")
    entries = project.must("ledger", "tail", "-n", "1000000")
    logged = Counter(entry["subject"] for entry in entries if (entry["action"], entry["phase"]) == ("predict", "done"))
    if missing := [prediction for prediction in predictions if not logged[f"prediction:{prediction}"]]:
        error.append(f"{len(missing)} of {len(predictions)} predictions are not in the ledger")
    if twice := [prediction for prediction in predictions if logged[f"prediction:{prediction}"] > 1]:
        error.append(f"{len(twice)} predictions are in the ledger twice")
    return error


def predict_scores(project: ServingProject, keys: list[dict[str, str]]) -> dict[str, float]:
    """Predict each key once, without load."""
    with Client(project.project) as client:
        return {_key_name(key): client.predict(MODEL, key, include_reasons=False).score for key in keys}


def _key_name(key: Mapping[str, str]) -> str:
    return " ".join(sorted(key.values()))


def run(root: Path, victims: Sequence[str]) -> bool:
    """Create a serving project, kill each server once, and print the results. Returns True if all checks pass."""
    project, well = ServingProject(root), True
    candidate = project.train_candidate()
    project.enroll_users("ines", "omar")
    project.release_candidate(candidate)
    keys = project.sample_keys(100)
    for server in victims:
        killed = kill_server(project, server, keys)
        error = [*killed.error, *find_lost_predictions(project, list(killed.answered))]
        print(f"{'WRONG' if error else 'ok   '} {killed}", flush=True)
        for item in error:
            print(f"               {item}", flush=True)
        well = well and not error
    return well
