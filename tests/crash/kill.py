"""Kills a project's process at a crash point or a random moment, reruns the command, and checks the invariants."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.crash import backups, crash_points
from tests.crash.invariants import find_violations
from tests.crash.project import ProjectFixture, wait_for_result
from tests.crash.user_commands import UserCommands

VICTIMS = (
    "job",
    "job",
    "warm server",
    "code",
    "worker",
    "command",
    "enclave",
    "enclave",
    "sequencer",
    "sequencer",
    "supervisor",
)
"""Processes to kill at a random moment. All servers die with the supervisor."""
FAILURE_SECONDS = 30.0
SERVERS = {
    "wellspring/enclave/": "enclave",
    "wellspring/trust/ledger/": "sequencer",
    "wellspring/worker/": "worker",
}
"""By folder: the server in which its crash points are passed; all others are passed in the child of a job."""


class Outcome(NamedTuple):
    """The result of one kill. hit: the intended process was killed; error: the invariants violated afterwards."""

    what: str
    hit: bool
    error: tuple[str, ...]
    seconds: float

    @property
    def good(self) -> bool:
        return self.hit and not self.error


class Killer:
    """Kills the processes of one project repeatedly and reports each violation once.

    Replays come last: they need the repaired contract and drops that were ingested before the repair.
    """

    def __init__(self, project: ProjectFixture) -> None:
        self.project = project
        self._number = 0
        self._reported: set[str] = set()
        self._for_replay: list[str] = []
        self._span = 1.0

    def prepare(self, names: list[str]) -> None:
        """Start the servers; ingest one drop, and one for each replay point in names."""
        self.project.start_servers()
        self._send()
        self._for_replay = [self._send() for name in names if _scenario(name) == "replay"]
        started = time.perf_counter()
        self.project.must("ingest")
        self._span = time.perf_counter() - started

    def point(self, name: str) -> Outcome:
        """Kill a process at one crash point, run the command again, and check the invariants."""
        started = time.perf_counter()
        scenario = _scenario(name)
        if scenario in ("backup.create", "backup.restore"):
            hit, problems = backups.kill_backup(self.project, name)
            self._ingest_all()
            return self._check(name, hit, started, problems)
        words: tuple[str, ...] = ("ledger", "rotate-key") if name.startswith("ledger.rotate") else ("ingest",)
        if scenario == "replay":
            if self.project.repair_contract():
                self._release_contract()
            subject = self._for_replay.pop()
            words = ("quarantine", "replay", self._drop(subject))
        else:
            subject = self._send()
        if scenario == "retention":
            self._ingest_all()
            self.project.must("down")
            self.project.end_retention(subject)
        server = _server_of(name)
        earlier_jobs = self._list_jobs() if server == "worker" else []
        hit = self._inside(name, words, server) if server else self._outside(name, words)
        job_errors = self._follow_interrupted(earlier_jobs) if server == "worker" else []
        if scenario == "replay":
            self._run_again(*words)
            self.project.mark_replayed(subject)
        self._ingest_all()
        return self._check(name, hit, started, job_errors)

    def _release_contract(self) -> None:
        """Let two users release the repaired contract."""
        self.project.must("down")
        self.project.must("up")
        users = UserCommands(self.project.root)
        users.bootstrap_code = self.project.bootstrap_code
        users.enroll_users("ines", "omar")
        users.release_contract("medical_claim")

    def moment(self, draw: random.Random) -> Outcome:
        """Kill a process at a random moment of an ingest, run it again, and check the invariants."""
        started = time.perf_counter()
        for _ in range(5):
            self._send()
            victim, after = draw.choice(VICTIMS), draw.uniform(0.0, self._span)
            with self.project.start("ingest") as process:
                threading.Event().wait(after)
                pid = self._pid(victim, process)
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                wait_for_result(process)
            if pid is not None:
                break
            # The ingest ended earlier, or its job had not started: choose earlier moments.
            self._span *= 0.8
            self._ingest_all()
        self._up()
        self._ingest_all()
        return self._check(f"{victim} after {after:.2f} s", pid is not None, started)

    def _outside(self, name: str, words: tuple[str, ...]) -> bool:
        """Kill the child of a job at a crash point and return True if it was killed."""
        ran = self.project.run(*words, crash_at=name)
        return ran.code not in {0, 3, 75} and "signal 9" in ran.error

    def _inside(self, name: str, words: tuple[str, ...], server: str) -> bool:
        """Kill a server at a crash point, which `up` passes in its environment; return True if it was killed."""
        self.project.must("down")
        dead, earlier_failures = True, self._count_failures(server)
        if self.project.run("up", crash_at=name).code == 0:
            self.project.run(*words)
            # The supervisor may have started another one before `up` returned, so its incidents tell.
            dead = self._wait_failure(server, earlier_failures)
        self.project.run("down")
        self._up()
        return dead

    def _count_failures(self, server: str) -> int:
        """Count the failures of a server: each opens an incident, or is followed by an act on an open one."""
        incidents = self.project.must("incident", "list", "--all")
        return sum(1 + len(incident["acts"]) for incident in incidents if incident["subject"] == f"server:{server}")

    def _wait_failure(self, server: str, earlier: int) -> bool:
        """Wait until the supervisor has noticed a failure of a server; return False after FAILURE_SECONDS."""
        deadline = time.monotonic() + FAILURE_SECONDS
        while self._count_failures(server) == earlier:
            if time.monotonic() > deadline:
                return False
            threading.Event().wait(0.1)
        return True

    def _up(self) -> None:
        self.project.must("up")

    def _run_again(self, *words: str) -> None:
        """Run a command again that may have completed before the kill; then it finds nothing to do."""
        ran = self.project.run(*words)
        if ran.code not in {0, 66, 77}:
            raise AssertionError(f"{' '.join(words)} after the crash ended with {ran.code}: {ran.error}")

    def _ingest_all(self) -> None:
        """Ingest until nothing is new."""
        for _ in range(3):
            ran = self.project.run("ingest")
            if ran.code == 3:
                return
            if ran.code != 0:
                raise AssertionError(f"ingest after the crash ended with {ran.code}: {ran.error}")
        raise AssertionError("ingest finds new files each time")

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
        if victim not in {"job", "warm server"}:
            return self.project.server(victim)
        worker = self.project.server("worker")
        try:
            warm_servers = psutil.Process(worker).children() if worker is not None else []
            processes = (
                warm_servers
                if victim == "warm server"
                else [child for warm in warm_servers for child in warm.children() if child.name() == victim]
            )
            return next((item.pid for item in processes), None)
        except psutil.NoSuchProcess:
            return None

    def _list_jobs(self) -> list[str]:
        return [job["id"] for job in self.project.must("job", "list", "--all", "--limit", "10000")]

    def _follow_interrupted(self, earlier_jobs: list[str]) -> list[str]:
        """Follow the one job that was submitted to the killed worker; describe what is wrong with it."""
        jobs = [job for job in self._list_jobs() if job not in earlier_jobs]
        if len(jobs) != 1:
            return [f"one job was submitted to the killed worker, and the queue has {len(jobs)}"]
        followed = self.project.run("job", "follow", jobs[0])
        return [] if followed.code == 0 else [f"the job {jobs[0]} ended with {followed.code}: {followed.error}"]

    def _check(self, what: str, hit: bool, started: float, job_errors: Sequence[str] = ()) -> Outcome:
        error = [*job_errors]
        error += [violation for violation in find_violations(self.project.observe()) if violation not in self._reported]
        self._reported.update(error)
        return Outcome(what, hit, tuple(error), time.perf_counter() - started)


def ordered(names: list[str]) -> list[str]:
    """Sort replays last: they change the contract for later ingests."""
    return sorted(names, key=lambda name: (_scenario(name) == "replay", name))


def open_killer(folder: Path, names: list[str], *, source: str = "sftp", wide: bool = False) -> Killer:
    """Create a project in a folder, start it, and prepare it for kills at these points.

    source: kind of its source. wide: each drop spans at least three batches.
    """
    killer = Killer(ProjectFixture(folder, source=source, wide=wide))
    killer.prepare(names)
    return killer


def _scenario(name: str) -> str:
    """Return which scenario reaches a crash point: ingest, replay, retention, or a command of backups."""
    if name.startswith("enclave.expire"):
        return "retention"
    if name.startswith("backup."):
        return name.partition(":")[0]
    return "replay" if ".replay:" in name else "ingest"


def _source_file(name: str) -> str:
    return next(point.file for point in crash_points.list_crash_points() if point.name == name)


def _server_of(name: str) -> str | None:
    """Return the server that passes a crash point; None for the child of a job."""
    file = _source_file(name)
    return next((server for folder, server in SERVERS.items() if file.startswith(folder)), None)
