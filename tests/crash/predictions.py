"""Kill -9 each process of a house that answers 200 questions a second, and see that no answer was lost or wrong.

`python -m tests.crash --answers` walks all of them; `tests/journeys/test_predictions.py` holds a sample in `make test`.
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

from tests.crash.serving_project import MODEL, Served
from wellspring.client import Client
from wellspring.errors import WellspringError

VICTIMS = ("api", "valkey", "mlflow", "openbao", "enclave", "postgres", "witness", "sftp", "supervisor")
NEEDED = {"api", "valkey", "supervisor"}
"""Without these nothing is answered. Each other server may be dead, and no question even fails."""
THREADS, RATE = 8, 200
BEFORE = AFTER = 1.0
DEADLINE = 60.0


class Heard(NamedTuple):
    """What one question came to. at: when, of the monotonic clock; wrong: the kind of error, '' for an answer."""

    instant: float
    requests: str
    error: str = ""
    prediction: str = ""
    score: float = 0.0


class Killed(NamedTuple):
    """One kill. seconds: until right answers came again, 0.0 when no question failed; up: until the server was back.

    answered: the predictions that callers hold.
    """

    user_name: str
    seconds: float
    up: float
    answered: tuple[str, ...]
    failed: Mapping[str, int]
    error: tuple[str, ...]

    def __str__(self) -> str:
        failures = ", ".join(f"{count} {kind}" for kind, count in sorted(self.failed.items())) or "none"
        return (
            f"{self.user_name:<10} right answers after {self.seconds:5.2f} s, up after {self.up:5.2f} s; "
            f"{len(self.answered):,} answers, failed: {failures}"
        )


class Load:
    """Asks 200 questions a second from 8 threads, each over one kept connection, and keeps what it heard."""

    def __init__(self, project: Served, keys: list[dict[str, str]]) -> None:
        self.heard: list[Heard] = []
        self._project = project
        self._keys = keys
        self._ended = threading.Event()

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Ask until the end of the block."""
        threads = [threading.Thread(target=self._ask, args=(place,), daemon=True) for place in range(THREADS)]
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

    def wait_for_answers(self, since: float) -> bool:
        """Wait until a quarter of a second's questions were answered after `since`; False when they are not."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            if sum(item.instant > since and not item.error for item in self.heard[-RATE:]) >= RATE // 4:
                return True
            self._ended.wait(0.02)
        return False

    def _ask(self, place: int) -> None:
        gap = THREADS / RATE
        due = time.monotonic() + place / RATE
        turn = place
        with Client(self._project.project, timeout=5.0) as client:
            while not self._ended.wait(max(0.0, due - time.monotonic())):
                key = self._keys[turn % len(self._keys)]
                named = _name(key)
                try:
                    result = client.predict(MODEL, key, include_reasons=False)
                    heard = Heard(time.monotonic(), named, "", result.id, result.score)
                except WellspringError as exc:
                    heard = Heard(time.monotonic(), named, exc.slug)
                self.heard.append(heard)
                turn += THREADS
                # What could not be asked while nobody answered is not asked later.
                due = max(due + gap, time.monotonic() - gap)


def kill(project: Served, user_name: str, keys: list[dict[str, str]]) -> Killed:
    """Kill one process under load, bring it back as its owner would, and look at what its callers heard.

    What they hold must also be in the journal and the ledger: `lost` says so, of many kills at once.
    """
    expected = scores(project, keys)
    load = Load(project, keys)
    with load.running():
        load.wait(BEFORE)
        pid = project.server(user_name)
        assert pid is not None, f"{user_name} does not run"
        started = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        project.repair(user_name)
        up = time.monotonic()
        again = load.wait_for_answers(up)
        load.wait(AFTER)
    heard = sorted(load.heard)
    failures = [item.instant for item in heard if item.error]
    first = next(
        (item.instant for item in heard if not item.error and item.instant > max(failures, default=0.0)), started
    )
    error = [] if again else [f"no right answers came again after {user_name} was killed"]
    if failures and user_name not in NEEDED:
        error.append(f"{len(failures)} questions failed without {user_name}, which none of them needs")
    strange = [item for item in heard if not item.error and item.score != expected[item.requests]]
    if strange:
        error.append(f"{len(strange)} answers are not what was answered before")
    return Killed(
        user_name,
        max(0.0, first - started) if failures else 0.0,
        up - started,
        tuple(item.prediction for item in heard if not item.error),
        Counter(item.error for item in heard if item.error),
        tuple(error),
    )


def lost(project: Served, predictions: list[str]) -> list[str]:
    """Say which answers that a caller holds are not in the journal, or not in a ledger that verifies."""
    error: list[str] = []
    lines = project.journal("api")
    if [line["sequence"] for line in lines] != list(range(len(lines))):
        error.append("the journal of the api has a gap or a double")
    stored = Counter(line["subject"] for line in lines if line["action"] == "predict")
    if missing := [prediction for prediction in predictions if not stored[f"prediction:{prediction}"]]:
        error.append(f"{len(missing)} of {len(predictions)} answers have no line in the journal")
    if twice := [prediction for prediction in predictions if stored[f"prediction:{prediction}"] > 1]:
        error.append(f"{len(twice)} answers have two lines in the journal")
    # `status` integrates what the journals hold.
    project.must("status")
    audited = project.run("ledger", "verify")
    if audited.code:
        error.append(f"the ledger does not verify: {audited.complaint}")
    entries = project.must("ledger", "tail", "-n", "1000000")
    logged = {entry["subject"] for entry in entries if entry["action"] == "predict" and entry["phase"] == "done"}
    if missing := [prediction for prediction in predictions if f"prediction:{prediction}" not in logged]:
        error.append(f"{len(missing)} of {len(predictions)} answers are not in the ledger")
    return error


def scores(project: Served, keys: list[dict[str, str]]) -> dict[str, float]:
    """Ask about each thing once, in peace."""
    with Client(project.project) as client:
        return {_name(key): client.predict(MODEL, key, include_reasons=False).score for key in keys}


def _name(key: Mapping[str, str]) -> str:
    return " ".join(sorted(key.values()))


def run(root: Path, victims: Sequence[str]) -> bool:
    """Make a house that answers, kill each process in it once, and tell what came of it. True when all is well."""
    project, well = Served(root), True
    candidate = project.learned()
    project.enrolled("ines", "omar")
    project.released(candidate)
    keys = project.keys(100)
    for user_name in victims:
        killed = kill(project, user_name, keys)
        error = [*killed.error, *lost(project, list(killed.answered))]
        print(f"{'WRONG' if error else 'ok   '} {killed}", flush=True)
        for item in error:
            print(f"               {item}", flush=True)
        well = well and not error
    return well
