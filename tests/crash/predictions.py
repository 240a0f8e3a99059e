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

    at: float
    asked: str
    wrong: str = ""
    prediction: str = ""
    score: float = 0.0


class Killed(NamedTuple):
    """One kill. seconds: until right answers came again, 0.0 when no question failed; up: until the server was back.

    answered: the predictions that callers hold.
    """

    who: str
    seconds: float
    up: float
    answered: tuple[str, ...]
    failed: Mapping[str, int]
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        failures = ", ".join(f"{count} {kind}" for kind, count in sorted(self.failed.items())) or "none"
        return (
            f"{self.who:<10} right answers after {self.seconds:5.2f} s, up after {self.up:5.2f} s; "
            f"{len(self.answered):,} answers, failed: {failures}"
        )


class Load:
    """Asks 200 questions a second from 8 threads, each over one kept connection, and keeps what it heard."""

    def __init__(self, house: Served, keys: list[dict[str, str]]) -> None:
        self.heard: list[Heard] = []
        self._house = house
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
            if sum(item.at > since and not item.wrong for item in self.heard[-RATE:]) >= RATE // 4:
                return True
            self._ended.wait(0.02)
        return False

    def _ask(self, place: int) -> None:
        gap = THREADS / RATE
        due = time.monotonic() + place / RATE
        turn = place
        with Client(self._house.project, timeout=5.0) as client:
            while not self._ended.wait(max(0.0, due - time.monotonic())):
                key = self._keys[turn % len(self._keys)]
                named = _name(key)
                try:
                    told = client.predict(MODEL, key, include_reasons=False)
                    heard = Heard(time.monotonic(), named, "", told.id, told.score)
                except WellspringError as exc:
                    heard = Heard(time.monotonic(), named, exc.slug)
                self.heard.append(heard)
                turn += THREADS
                # What could not be asked while nobody answered is not asked later.
                due = max(due + gap, time.monotonic() - gap)


def kill(house: Served, who: str, keys: list[dict[str, str]]) -> Killed:
    """Kill one process under load, bring it back as its owner would, and look at what its callers heard.

    What they hold must also be in the journal and the ledger: `lost` says so, of many kills at once.
    """
    expected = scores(house, keys)
    load = Load(house, keys)
    with load.running():
        load.wait(BEFORE)
        pid = house.server(who)
        assert pid is not None, f"{who} does not run"
        begun = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        house.repair(who)
        up = time.monotonic()
        again = load.wait_for_answers(up)
        load.wait(AFTER)
    heard = sorted(load.heard)
    failures = [item.at for item in heard if item.wrong]
    first = next((item.at for item in heard if not item.wrong and item.at > max(failures, default=0.0)), begun)
    wrong = [] if again else [f"no right answers came again after {who} was killed"]
    if failures and who not in NEEDED:
        wrong.append(f"{len(failures)} questions failed without {who}, which none of them needs")
    strange = [item for item in heard if not item.wrong and item.score != expected[item.asked]]
    if strange:
        wrong.append(f"{len(strange)} answers are not what was answered before")
    return Killed(
        who,
        max(0.0, first - begun) if failures else 0.0,
        up - begun,
        tuple(item.prediction for item in heard if not item.wrong),
        Counter(item.wrong for item in heard if item.wrong),
        tuple(wrong),
    )


def lost(house: Served, predictions: list[str]) -> list[str]:
    """Say which answers that a caller holds are not in the journal, or not in a ledger that verifies."""
    wrong: list[str] = []
    lines = house.journal("api")
    if [line["sequence"] for line in lines] != list(range(len(lines))):
        wrong.append("the journal of the api has a gap or a double")
    kept = Counter(line["subject"] for line in lines if line["action"] == "predict")
    if missing := [prediction for prediction in predictions if not kept[f"prediction:{prediction}"]]:
        wrong.append(f"{len(missing)} of {len(predictions)} answers have no line in the journal")
    if twice := [prediction for prediction in predictions if kept[f"prediction:{prediction}"] > 1]:
        wrong.append(f"{len(twice)} answers have two lines in the journal")
    # `status` integrates what the journals hold.
    house.must("status")
    audited = house.run("ledger", "verify")
    if audited.code:
        wrong.append(f"the ledger does not verify: {audited.complaint}")
    entries = house.must("ledger", "tail", "-n", "1000000")
    logged = {entry["subject"] for entry in entries if entry["action"] == "predict" and entry["phase"] == "done"}
    if missing := [prediction for prediction in predictions if f"prediction:{prediction}" not in logged]:
        wrong.append(f"{len(missing)} of {len(predictions)} answers are not in the ledger")
    return wrong


def scores(house: Served, keys: list[dict[str, str]]) -> dict[str, float]:
    """Ask about each thing once, in peace."""
    with Client(house.project) as client:
        return {_name(key): client.predict(MODEL, key, include_reasons=False).score for key in keys}


def _name(key: Mapping[str, str]) -> str:
    return " ".join(sorted(key.values()))


def run(root: Path, victims: Sequence[str]) -> bool:
    """Make a house that answers, kill each process in it once, and tell what came of it. True when all is well."""
    house, well = Served(root), True
    candidate = house.learned()
    house.enrolled("ines", "omar")
    house.released(candidate)
    keys = house.keys(100)
    for who in victims:
        killed = kill(house, who, keys)
        wrong = [*killed.wrong, *lost(house, list(killed.answered))]
        print(f"{'WRONG' if wrong else 'ok   '} {killed}", flush=True)
        for item in wrong:
            print(f"               {item}", flush=True)
        well = well and not wrong
    return well
