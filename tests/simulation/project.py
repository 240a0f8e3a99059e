"""A project on its real servers whose clock is simulated: its vendor, its jobs, its packs and its disk."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psutil

from wellspring.cli import cli
from wellspring.cli.context import run_command
from wellspring.embedded.job_client import send_job_request, submit_job
from wellspring.operations.incidents import list_all_incidents
from wellspring.project import load_project
from wellspring.records.jobs import Job
from wellspring.records.record import format_instant
from wellspring.runtime.files import write_atomically
from wellspring.runtime.run_state import read_run_state
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.simulated_clock import CLOCK_FILE, SIMULATION_HOST, SimulatedClock
from wellspring.supervisor import client
from wellspring.trust.ledger.journal_key import read_service_key_lines
from wellspring.trust.ledger.keyring import read_verifier_keys
from wellspring.trust.ledger.remote_sequencer import RemoteSequencer, SequencerStatus
from wellspring_verify import verify_pack

TEMPLATE = Path(__file__).with_name("project")
T = TypeVar("T")
METERS = 4
HOURS = 24
NEWEST_JOBS = 20
"""A day has fewer jobs than this."""
TIMEOUT_SECONDS = 120.0
"""Real time within which each expected change must happen."""
POLL_SECONDS = 0.1


class SimulatedProject:
    """One project in a folder of its own. Its servers must be stopped before the folder is removed.

    start: the instant at which its clock begins. It lies after the real time, because files that the platform writes
    have real modification times. transforms: whether a success of an ingest starts a transform, which takes seconds.
    """

    def __init__(self, root: Path, start: datetime, *, transforms: bool = True) -> None:
        shutil.copytree(TEMPLATE, root)
        root.chmod(0o755)
        if not transforms:
            text = (root / "wellspring.toml").read_text(encoding="utf-8")
            (root / "wellspring.toml").write_text(text.partition("\n[dbt]")[0], encoding="utf-8")
        self.project = load_project(root)
        self._clock_path = root / "simulation" / CLOCK_FILE
        self._clock_path.parent.mkdir()
        self.clock = SimulatedClock(self._clock_path)
        self._returned: set[str] = set()
        self._stopped_cpu = 0.0
        self.set_clock(start)

    # --- clock and servers ---------------------------------------------------------------------------------------

    def set_clock(self, instant: datetime) -> None:
        """Set the clock of all processes; it runs on from there at the speed of real time."""
        document = {"instant": format_instant(instant), "monotonic": time.monotonic()}
        write_atomically(self._clock_path, json.dumps(document).encode())

    def start(self) -> None:
        """Start the servers."""
        client.start_servers(self.project)

    def stop(self) -> None:
        """Stop the servers."""
        self._stopped_cpu = self.measure_cpu()
        client.stop_servers(self.project)

    def block_witness(self) -> None:
        """Let the witness answer that it cannot cosign: it finds a file where its checkpoints were."""
        folder = self.project.root / self.project.witness.folder
        (folder / "checkpoints").rename(folder / "checkpoints.away")
        (folder / "checkpoints").touch()

    def release_witness(self) -> None:
        """Let the witness cosign again."""
        folder = self.project.root / self.project.witness.folder
        (folder / "checkpoints").unlink()
        (folder / "checkpoints.away").rename(folder / "checkpoints")

    # --- the vendor ----------------------------------------------------------------------------------------------

    def deliver_drop(self, at: datetime) -> None:
        """Set the clock to an instant, and deliver the hourly readings of the day before as one file of that time."""
        first = at.replace(hour=0, minute=0, second=0) - timedelta(days=1)
        rows = [
            (f"MTR{meter:06d}", f"{first + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ}", 100 + (meter * 7 + hour) % 50)
            for hour in range(HOURS)
            for meter in range(METERS)
        ]
        path = self.project.vendor_dir / "outbox" / f"reading_{first:%Y%m%d}.csv"
        part = path.with_name(f"{path.name}.part")
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("meter_id", "recorded_at", "watt_hours"))
            writer.writerows(rows)
        os.utime(part, (at.timestamp(), at.timestamp()))
        # The jump makes the worker look at the source within a second, and again only half a minute later.
        self.set_clock(at)
        part.rename(path)

    # --- jobs and log --------------------------------------------------------------------------------------------

    def list_jobs(self, limit: int = 10_000) -> list[Job]:
        """List the newest jobs of the queue, oldest first."""
        response = send_job_request(self.project, {"op": "list", "limit": limit})
        return [Job.model_validate(job) for job in response["jobs"]]

    def list_new_jobs(self) -> list[Job]:
        """List the jobs that no call of `wait_for_jobs` has returned, oldest first; of the newest ones only."""
        return [job for job in self.list_jobs(NEWEST_JOBS) if job.id not in self._returned]

    def wait_for_jobs(self, count: int) -> list[Job]:
        """Wait until there are so many jobs that no earlier call has returned, and all have ended; return them."""

        def read_ended() -> list[Job] | None:
            jobs = self.list_new_jobs()
            return jobs if len(jobs) >= count and all(job.is_ended for job in jobs) else None

        jobs = self._wait(read_ended, f"{count} ended jobs", lambda: "\n".join(map(describe_job, self.list_new_jobs())))
        self._returned.update(job.id for job in jobs)
        return jobs

    def wait_for_log(self) -> SequencerStatus:
        """Wait until the log holds every line of the journals, and return its state."""

        def read_complete() -> SequencerStatus | None:
            status = self.read_log()
            return status if not status.pending and not status.problem else None

        return self._wait(read_complete, "a complete log", lambda: str(self.read_log()))

    def read_log(self) -> SequencerStatus:
        """Return the state of the log."""
        return RemoteSequencer(find_server_socket(self.project, "sequencer"), "owner").read_status()

    def prove(self, subject: str) -> tuple[str, ...]:
        """Write the pack of a subject by a job, verify it, and return what is wrong with it."""
        job = submit_job(self.project, "prove", subject)
        (ended,) = (item for item in self.wait_for_jobs(1) if item.id == job.id)
        if ended.state != "succeeded":
            return (describe_job(ended),)
        result: Any = ended.result
        keys = read_verifier_keys(self.project.ledger_dir, self.project.root / self.project.witness.folder)
        report = verify_pack(
            Path(result["folder"]),
            key=keys.log_key,
            witness=keys.witness_key,
            services=read_service_key_lines(self.project.state_dir),
        )
        if report.outcome == 0 and not any(SIMULATION_HOST in line for line in report.summary):
            return (f"{subject}: the verifier does not say that it is of a simulation",)
        return () if report.outcome == 0 else (subject, *map(str, report.findings))

    def read_edition(self, edition_id: str) -> list[str]:
        """Read each table of an edition; return what is wrong."""
        from contextlib import closing

        from wellspring.bootstrap import open_lake
        from wellspring.errors import WellspringError
        from wellspring.stores.locks.port import ReadOnlyFence

        with closing(open_lake(self.project, self.clock, ReadOnlyFence())) as lake:
            edition = lake.get_edition(edition_id)
            assert edition is not None
            try:
                rows = {table.table: lake.read_table(edition, table.table).num_rows for table in edition.tables}
            except WellspringError as exc:
                return [exc.what]
        expected = {table.table: table.rows for table in edition.tables}
        return [] if rows == expected else [f"edition {edition_id} has {rows}, and its record says {expected}"]

    def list_open_incidents(self) -> list[str]:
        """Describe the incidents that are open."""
        return [
            f"{incident.subject}: {incident.text}"
            for incident in list_all_incidents(self.project)
            if incident.state == "open"
        ]

    def verify_ledger(self) -> list[str]:
        """Verify the whole ledger by `wellspring ledger verify`; return its findings."""
        code, output = self._run_command("ledger", "verify")
        return [] if code == 0 else output.splitlines()

    def read_status(self) -> dict[str, Any]:
        """Return the document of `wellspring status`."""
        return json.loads(self._run_command("status", "--json")[1])

    # --- cost ----------------------------------------------------------------------------------------------------

    def measure_cpu(self) -> float:
        """Return the CPU seconds of all servers and of all jobs that have ended."""
        running = read_run_state(self.project)
        if running is None:
            return self._stopped_cpu
        supervisor = psutil.Process(running.supervisor.pid)
        total = self._stopped_cpu
        for process in (supervisor, *supervisor.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                # User and system time of the process, and of its children that have ended.
                total += sum(process.cpu_times()[:4])
        return total

    def measure_folders(self) -> dict[str, int]:
        """Return the allocated bytes of each folder of the project's state, and of vendor and witness.

        Two parts that go up and down are folders of their own: PostgreSQL's write-ahead log, and the partial tiles of
        the ledger, which the full tile of each 256 entries replaces.
        """
        folders = [path for path in self.project.state_dir.iterdir() if path.is_dir()]
        folders += [self.project.vendor_dir, self.project.root / self.project.witness.folder]
        sizes = {folder.name: measure_folder(folder) for folder in sorted(folders)}
        for name, folder, part in (("pg_wal", "postgres", "pg_wal"), ("partial_tiles", "ledger", "*.p")):
            sizes[name] = sum(map(measure_folder, (self.project.state_dir / folder).rglob(part)))
            sizes[folder] -= sizes[name]
        return sizes

    def _run_command(self, *words: str) -> tuple[int, str]:
        """Run a command in this process; return its exit code and its output."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = run_command(cli, [*words, "--project", str(self.project.root)])
        return code, output.getvalue() + errors.getvalue()

    def _wait(self, read: Callable[[], T | None], expected: str, describe: Callable[[], str]) -> T:
        deadline, pause = time.monotonic() + TIMEOUT_SECONDS, threading.Event()
        while time.monotonic() < deadline:
            value = read()
            if value is not None:
                return value
            pause.wait(POLL_SECONDS)
        raise AssertionError(f"at {format_instant(self.clock.now())} there was no {expected}:\n{describe()}")


def describe_job(job: Job) -> str:
    """Describe a job in one line."""
    error = "" if job.error is None else f": {job.error['what']}"
    return f"{job.run} {job.kind} {job.state} after {job.attempts} attempts{error}"


def measure_folder(folder: Path) -> int:
    """Return the bytes that the files below a folder occupy; a file that vanishes meanwhile counts nothing."""
    total = 0
    for name, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.lstat(os.path.join(name, file)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
