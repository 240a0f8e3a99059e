"""Kill a house at a named crash point, or at any moment, run the same command again, and look at what is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.crash import crash_points
from tests.crash.invariants import broken
from tests.crash.project import ProjectFixture, finished

VICTIMS = ("worker", "worker", "command", "enclave", "enclave", "supervisor")
"""Who is killed at a random moment. A killed supervisor takes all its servers with it."""


class Outcome(NamedTuple):
    """One kill. hit: whether anybody died as meant; wrong: the invariants that do not hold afterwards."""

    what: str
    hit: bool
    error: tuple[str, ...]
    seconds: float

    @property
    def good(self) -> bool:
        return self.hit and not self.error


class Killer:
    """Kills one house again and again; what is wrong after one kill stays wrong, and is told once.

    Replays come after all receives: they need the contract to be repaired, and drops from before that.
    """

    def __init__(self, project: ProjectFixture) -> None:
        self.project = project
        self._number = 0
        self._result: set[str] = set()
        self._for_replay: list[str] = []
        self._span = 1.0

    def prepare(self, names: list[str]) -> None:
        """Start the house; send and receive the drops that the named replay points will replay, and one more."""
        self._up()
        self._send()
        self._for_replay = [self._send() for name in names if _folder(name) == "replay"]
        started = time.perf_counter()
        self.project.must("ingest")
        self._span = time.perf_counter() - started

    def point(self, name: str) -> Outcome:
        """Die at one crash point, come back, and look."""
        started = time.perf_counter()
        folder = _folder(name)
        words: tuple[str, ...] = ("ingest",)
        if folder == "replay":
            self.project.repair_contract()
            subject = self._for_replay.pop()
            words = ("quarantine", "replay", self._drop(subject))
        else:
            subject = self._send()
        if folder == "retention":
            self._receive_all()
            self.project.must("down")
            self.project.end_retention(subject)
        hit = self._inside(name, words) if _file(name).startswith("wellspring/enclave/") else self._outside(name, words)
        if folder == "replay":
            self._again(*words)
            self.project.replayed(subject)
        self._receive_all()
        return self._look(name, hit, started)

    def moment(self, draw: random.Random) -> Outcome:
        """Kill somebody at a random moment of a receive, come back, and look."""
        started = time.perf_counter()
        for _ in range(5):
            self._send()
            victim, after = draw.choice(VICTIMS), draw.uniform(0.0, self._span)
            with self.project.start("ingest") as process:
                threading.Event().wait(after)
                pid = self._pid(victim, process)
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                finished(process)
            if pid is not None:
                break
            # It ended before that, or the worker was not born yet: receive takes less long than it was thought to.
            self._span *= 0.8
            self._receive_all()
        self._up()
        self._receive_all()
        return self._look(f"{victim} after {after:.2f} s", pid is not None, started)

    def _outside(self, name: str, words: tuple[str, ...]) -> bool:
        """Die in the worker, and see that it did."""
        ran = self.project.run(*words, crash_at=name)
        return ran.code not in {0, 3, 75} and "signal 9" in ran.complaint

    def _inside(self, name: str, words: tuple[str, ...]) -> bool:
        """Die in the enclave: it must be started with the point's name, which `up` hands on."""
        self.project.must("down")
        if self.project.run("up", crash_at=name).code == 0:
            self.project.run(*words)
        dead = self.project.server("enclave") is None or not _lives(self.project.server("enclave"))
        self.project.run("down")
        self._up()
        return dead

    def _up(self) -> None:
        self.project.must("up")

    def _again(self, *words: str) -> None:
        """Run a command again that may have been carried out before it died: then nothing waits any more."""
        ran = self.project.run(*words)
        if ran.code not in {0, 66, 77}:
            raise AssertionError(f"{' '.join(words)} after the crash ended with {ran.code}: {ran.complaint}")

    def _receive_all(self) -> None:
        """Receive until there is nothing new."""
        for _ in range(3):
            ran = self.project.run("ingest")
            if ran.code == 3:
                return
            if ran.code != 0:
                raise AssertionError(f"receive after the crash ended with {ran.code}: {ran.complaint}")
        raise AssertionError("receive finds something new each time")

    def _send(self) -> str:
        self._number += 1
        return self.project.send(self._number).name

    def _drop(self, file: str) -> str:
        entries = self.project.must("ledger", "tail", "-n", "1000000")
        matches = [entry for entry in entries if entry["action"] == "land" and entry["facts"].get("name") == file]
        return matches[0]["subject"].removeprefix("drop:")

    def _pid(self, victim: str, process: subprocess.Popen[str]) -> int | None:
        if victim == "command":
            return process.pid if process.poll() is None else None
        if victim != "worker":
            return self.project.server(victim)
        try:
            children = psutil.Process(process.pid).children(recursive=True)
            return next((item.pid for item in children if "wellspring.worker" in item.cmdline()), None)
        except psutil.NoSuchProcess:
            return None

    def _look(self, what: str, hit: bool, started: float) -> Outcome:
        error = [item for item in broken(self.project.see()) if item not in self._result]
        self._result.update(error)
        return Outcome(what, hit, tuple(error), time.perf_counter() - started)


def ordered(names: list[str]) -> list[str]:
    """Put replays last: they change the contract for what follows."""
    return sorted(names, key=lambda name: (_folder(name) == "replay", name))


def open_killer(folder: Path, names: list[str]) -> Killer:
    """Make a house in a folder, start it, and get it ready to be killed at these points."""
    killer = Killer(ProjectFixture(folder))
    killer.prepare(names)
    return killer


def _folder(name: str) -> str:
    """Say which command comes by a crash point."""
    if name.startswith("enclave.retain"):
        return "retention"
    return "replay" if ".replay:" in name else "ingest"


def _file(name: str) -> str:
    return next(point.file for point in crash_points.every() if point.name == name)


def _lives(pid: int | None) -> bool:
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
