"""A worker in this process: its real queue, service and dispatcher, and a scripted warm server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

from tests.builders.approvals import Books, Somebody, release
from tests.builders.jobs import ScriptedWarmServer, SetClock, write_project
from tests.builders.recording_step import RecordingStep
from tests.builders.user_notes import SIGNED_AT, sign
from wellspring.errors import Unavailable
from wellspring.models.releases.store import ReleaseStore
from wellspring.project import load_project
from wellspring.records.jobs import Job
from wellspring.records.models import Release
from wellspring.records.trust import Ref
from wellspring.records.user_notes import NoteKind
from wellspring.runtime.process import Credential
from wellspring.stores.queue.sqlite import SqliteJobQueue
from wellspring.trust.approvals import record_proposal
from wellspring.trust.policy import PolicySet
from wellspring.worker.act_authorizer import ActAuthorizer
from wellspring.worker.dispatcher import Dispatcher
from wellspring.worker.job_log import JobLog
from wellspring.worker.job_service import JobService, JobSubmission

if TYPE_CHECKING:
    from wellspring.trust.ledger.index import LedgerIndex

USERS = '[models]\n[users.ana]\nroles = ["owner"]\n'
JOURNALS = ["worker", "worker-2", "worker-3"]


def build_submission(kind: str = "ingest", subject: str = "vendor", **values: Any) -> JobSubmission:
    """Build what a client submits."""
    submission = JobSubmission(kind, subject, {}, run="", is_interactive=False, priority=0, trace="", crash_at=None)
    return submission._replace(**values)


class WorkerWorld:
    """One worker of a project whose policies permit everything, and whose user ana is enrolled.

    scripts: the code of a job's child by subject. books: the ledger that the worker reads. points: the crash points of
    the dispatcher that were passed, each with the state of the newest job and the number of children so far.
    on_credential: called when the dispatcher asks for a job's credential.
    """

    def __init__(self, folder: Path, *, toml: str = "") -> None:
        self.folder = folder
        (folder / "policies").mkdir()
        self.write_policies("permit (principal, action, resource);")
        self.project = load_project(write_project(folder, toml + USERS), environ={})
        self.ana = Somebody("ana", "owner")
        self.books = Books(self.ana)
        self.integrated = 0
        self.points: list[tuple[str, str, int]] = []
        self.clock = SetClock()
        self.step = RecordingStep(service="dispatcher")
        self.scripts: dict[str, str] = {}
        self.warm_servers: list[ScriptedWarmServer] = []
        self.credentials: list[str] = []
        self.no_credential = False
        self.on_credential: Callable[[], None] = lambda: None
        self.open_worker()

    def open_worker(self) -> None:
        """Open the queue, as the worker does at its start."""
        self.queue = SqliteJobQueue(self.project.jobs_dir / "queue.sqlite")
        self.service = JobService(
            self.project,
            self.queue,
            JobLog(self.project.jobs_dir),
            acts=ActAuthorizer(cast("LedgerIndex", self.books), integrate=self._integrate, step=self.step),
            step=self.step,
            clock=self.clock,
            on_change=lambda: self.dispatcher.wake(),
        )
        self.dispatcher = Dispatcher(
            self.service,
            JOURNALS,
            self.project.worker,
            start_warm_server=self._start_warm_server,
            request_credential=self._request_credential,
            crash_point=self._reach_crash_point,
            clock=self.clock,
        )

    def close(self) -> None:
        """Close the queue."""
        self.queue.close()

    def submit(self, kind: str = "ingest", subject: str = "vendor", **values: Any) -> Job:
        """Submit a job as the owner."""
        job = self.service.submit_job(build_submission(kind, subject, **values), "service:owner")
        for warm in self.warm_servers:
            warm.subjects[job.id] = subject
        return job

    def write_policies(self, text: str) -> None:
        """Replace the policies of the project."""
        (self.folder / "policies" / "a.cedar").write_text(text)

    def sign_act(self, kind: NoteKind, *lines: str) -> dict[str, JsonValue]:
        """Return the parameters of an act of ana: the note that she signed."""
        return {"note": sign(self.ana, kind, *lines).model_dump(mode="json")}

    def submit_rollback(self, model: str, **values: Any) -> Job:
        """Submit a rollback of a model, signed by ana."""
        return self.submit("rollback", model, parameters=self.sign_act("rollback", model, "none", SIGNED_AT), **values)

    def propose(self, proposer: Somebody, model: str = "denials") -> Release:
        """Store a release of a model, with its proposal by a user; return it."""
        proposed = release(model=model)
        ReleaseStore(self.project.models_dir).save(proposed)
        candidate = Ref(name=f"candidate:{proposed.candidate}", digest="0" * 64)
        policies = PolicySet({"a.cedar": "permit (principal, action, resource);"})
        record_proposal(proposed, candidate, proposer, ledger=self.books, policies=policies, step=self.books.step)
        return proposed

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the dispatcher in a thread until the end of the block."""
        thread = threading.Thread(target=self.dispatcher.run_until_stopped)
        thread.start()
        try:
            yield
        finally:
            self.dispatcher.request_stop()
            thread.join()

    def wait_for(self, job: Job, *states: str) -> Job:
        """Wait until a job is in one of these states (default: an end)."""
        pause = threading.Event()
        for _ in range(6000):
            current = self.queue.get_job(job.id)
            if current.state in states or (not states and current.is_ended):
                return current
            pause.wait(0.01)
        raise AssertionError(f"the job is {current.state}")

    def _integrate(self) -> None:
        self.integrated += 1

    def _reach_crash_point(self, point: str) -> None:
        started = sum(len(warm.started) for warm in self.warm_servers)
        self.points.append((point, self.queue.list_jobs()[-1].state, started))

    def _start_warm_server(self) -> Any:
        warm = ScriptedWarmServer(self.scripts)
        warm.subjects = {job.id: job.subject for job in self.queue.list_jobs()}
        self.warm_servers.append(warm)
        return warm

    def _request_credential(self) -> Credential:
        self.on_credential()
        if self.no_credential:
            raise Unavailable("the supervisor gave no credential", fix="run `wellspring up`")
        self.credentials.append("wrapped")
        return Credential("role", "wrapped")
