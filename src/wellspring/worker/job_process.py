"""The child process of one job: reads the job and its credential, confines itself, runs the job, writes its events."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from wellspring.errors import CorruptedError, Unavailable, WellspringError, encode_error
from wellspring.project import Project, load_project
from wellspring.records.jobs import Job, RunIdentity
from wellspring.runtime.privileges import service_environment, service_temp_dir
from wellspring.runtime.process import Credential, format_location, harden_process
from wellspring.runtime.process_memory import limit_memory
from wellspring.runtime.project_code import ProjectCodeClient
from wellspring.runtime.sandbox import confine_process
from wellspring.runtime.simulated_clock import open_clock
from wellspring.stores.locks.registry import list_credential_files

_OUT_OF_MEMORY_SCORE = b"800"
"""The kernel ends a job, not the worker or a server, when the memory of the machine is full."""


class JobAssignment(NamedTuple):
    """What the worker writes to a child. journal: the journal that this attempt writes. memory_bytes: 0 for no limit.

    crash_at: see `open_recorder`.
    """

    job: Job
    credential: Credential
    journal: str
    memory_bytes: int
    crash_at: str | None

    def encode(self) -> bytes:
        """Encode the assignment as one JSON line."""
        document = {
            "job": self.job.model_dump(mode="json"),
            "credential": self.credential._asdict(),
            "journal": self.journal,
            "memory_bytes": self.memory_bytes,
            "crash_at": self.crash_at,
        }
        return json.dumps(document).encode() + b"\n"


def decode_assignment(line: str) -> JobAssignment:
    """Decode the line that `JobAssignment.encode` returned."""
    document: dict[str, Any] = json.loads(line)
    return JobAssignment(
        Job.model_validate(document["job"]),
        Credential(**document["credential"]),
        str(document["journal"]),
        int(document["memory_bytes"]),
        document["crash_at"],
    )


def run_job_process(project_root: Path, request_fd: int, events_fd: int) -> int:
    """Read a job, run it and write its events; return the exit code of the child."""
    with os.fdopen(events_fd, "w", encoding="utf-8", buffering=1) as output:

        def emit(event: dict[str, Any]) -> None:
            output.write(json.dumps(event) + "\n")

        try:
            with os.fdopen(request_fd, encoding="utf-8") as file:
                line = file.readline()
            if not line:
                return 1
            assignment = decode_assignment(line)
            emit({"event": "result", "value": _run_assignment(project_root, assignment, emit)})
        except WellspringError as exc:
            emit({"event": "error", **encode_error(exc)})
            return exc.exit_code
        except MemoryError:
            emit({"event": "error", **encode_error(build_memory_error(assignment.memory_bytes))})
            return 1
        except BaseException as exc:
            # The text of the exception may quote data.
            emit({"event": "crashed", "location": format_location(type(exc), exc.__traceback__)})
            raise
    return 0


def build_memory_error(memory_bytes: int) -> WellspringError:
    """Return the error of a job that needs more memory than it may use. memory_bytes: its limit; 0 for none."""
    limit = f"its limit of {memory_bytes // 2**20:,} MB" if memory_bytes else "the machine has"
    return WellspringError(
        f"the job needs more memory than {limit}",
        fix="raise memory_mb in [worker] of wellspring.toml, or give the job less data",
    )


def _run_assignment(project_root: Path, assignment: JobAssignment, emit: Callable[[dict[str, Any]], None]) -> Any:
    from wellspring.bootstrap.job_ports import hold_resources
    from wellspring.worker.handlers import HANDLERS
    from wellspring.worker.job_request import JobRequest

    job = assignment.job
    require_submitted_note(job)
    project = _prepare_process(load_project(project_root, environ={}, sources=False), assignment)
    identity = RunIdentity(job.id, job.principal, job.trace)

    def progress(stage: str, done: int, total: int) -> None:
        emit({"event": "progress", "stage": stage, "done": done, "total": total})

    def end_process(error: Unavailable) -> None:
        # At once, as a crash would: an entry that this process still wrote could contradict the next holder.
        emit({"event": "error", **encode_error(error)})
        os._exit(error.exit_code)

    with ExitStack() as stack:
        stack.callback(shutil.rmtree, tempfile.gettempdir(), ignore_errors=True)
        project_code = stack.enter_context(closing(_build_project_code(project, assignment)))
        leases = stack.enter_context(hold_resources(project, job.resources, f"job:{job.id}", on_lost=end_process))
        _require_permission(project, assignment, identity)
        request = JobRequest(
            project,
            assignment.credential,
            job.subject,
            job.parameters,
            progress,
            assignment.journal,
            identity,
            project_code,
            leases,
        )
        return HANDLERS[job.kind](request)


def _build_project_code(project: Project, assignment: JobAssignment) -> ProjectCodeClient:
    """Return the client of project code; it connects when the job first runs such code."""
    return ProjectCodeClient(
        project.socket_path("code"),
        service_temp_dir(project, "code") / f"job-{assignment.job.id}",
        server_uid=project.state_dir.stat().st_uid,
        memory_bytes=assignment.memory_bytes,
    )


def require_submitted_note(job: Job) -> None:
    """Raise CorruptedError unless the note of a person's act is the one that was authorized at the submission."""
    from wellspring.trust import user_notes
    from wellspring.worker.job_kinds import find_job_kind

    note_kind = find_job_kind(job.kind).note_kind
    if note_kind is None:
        return
    note = user_notes.parse_note(job.parameters.get("note"), note_kind)
    if user_notes.compute_note_digest(note) != job.note_digest:
        raise CorruptedError(
            f"the note of the job {job.id} is not the one that was submitted", fix="submit the act again, and sign it"
        )


def _prepare_process(project: Project, assignment: JobAssignment) -> Project:
    """Limit and confine this process, and give it its own environment and folder for temporary files."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_OUT_OF_MEMORY_SCORE)
    limit_memory(assignment.memory_bytes)
    harden_process(umask=0o027)
    folder = service_temp_dir(project, "worker") / f"job-{assignment.job.id}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    os.environ.clear()
    os.environ.update({**service_environment(project, "worker"), "TMPDIR": str(folder), "HOME": str(folder)})
    confine_process(project, role="worker", readable=list_credential_files(project))
    tempfile.tempdir = str(folder)
    return project.model_copy(update={"crash_at": assignment.crash_at})


def _require_permission(project: Project, assignment: JobAssignment, identity: RunIdentity) -> None:
    """Ask the policies again: they may have changed while the job waited. Raises Refused, and records it."""
    from wellspring.bootstrap import login_for_journal_key, open_recorder
    from wellspring.worker.job_policy import evaluate_job, record_refusal

    verdict = evaluate_job(project, assignment.job)
    if not verdict.passed:
        key = login_for_journal_key(project, assignment.credential, assignment.journal)
        with open_recorder(project, key, clock=open_clock(project), crash_at=project.crash_at, run=identity) as step:
            record_refusal(project, assignment.job, step=step)
