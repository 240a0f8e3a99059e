"""The queue of jobs in one SQLite file; each transition is one synchronous transaction."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable
from wellspring.records.jobs import ENDED_STATES, Job, JobState

_SCHEMA = """
create table if not exists jobs (
  sequence integer primary key autoincrement, id text not null unique, run text not null unique,
  state text not null, priority integer not null, content text not null
) strict;
create index if not exists by_state on jobs (state, priority, sequence);
"""


class SqliteJobQueue:
    """Jobs in one file; safe for the threads of one process. read_only: for a reader while no worker runs."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        with self._mapped_errors():
            target = f"{path.absolute().as_uri()}?mode=ro" if read_only else str(path)
            self._connection = sqlite3.connect(
                target, uri=read_only, timeout=10, isolation_level=None, check_same_thread=False
            )
            if not read_only:
                # The rollback journal, because readers under another user must not create files beside it.
                self._connection.execute("pragma journal_mode = delete")
                self._connection.execute("pragma synchronous = full")
                self._connection.executescript(_SCHEMA)

    def submit(self, job: Job) -> Job:
        with self._transaction() as file:
            row = file.execute("select content from jobs where run = ?", (job.run,)).fetchone()
            if row is not None:
                earlier = self._parse_job(row[0])
                if not earlier.has_same_content(job):
                    raise Refused(
                        f"the run {job.run} was submitted before, as {earlier.kind} {earlier.subject}".rstrip()
                        + f" (job {earlier.id}), with other content",
                        fix="choose another run id",
                    )
                return earlier
            file.execute(
                "insert into jobs (id, run, state, priority, content) values (?, ?, ?, ?, ?)",
                (job.id, job.run, job.state, job.priority, job.model_dump_json()),
            )
        return job

    def get_job(self, job_id: str) -> Job:
        with self._lock, self._mapped_errors():
            row = self._open_connection().execute("select content from jobs where id = ?", (job_id,)).fetchone()
        if row is None:
            raise NotFound(f"no job {job_id!r}", fix="see `wellspring job list`")
        return self._parse_job(row[0])

    def list_jobs(self, states: Iterable[JobState] | None = None, *, limit: int | None = None) -> list[Job]:
        names = None if states is None else sorted(states)
        condition = "true" if names is None else f"state in ({', '.join('?' * len(names))})"
        with self._lock, self._mapped_errors():
            rows = self._open_connection().execute(
                f"select content from jobs where {condition} order by sequence desc limit ?",  # noqa: S608 (fixed names)
                (*(names or ()), -1 if limit is None else limit),
            )
            return [self._parse_job(content) for (content,) in rows][::-1]

    def list_queued(self) -> list[Job]:
        with self._lock, self._mapped_errors():
            rows = self._open_connection().execute(
                "select content from jobs where state = 'queued' order by priority desc, sequence"
            )
            return [self._parse_job(content) for (content,) in rows]

    def update_job(self, job_id: str, expected: Iterable[JobState], **changes: Any) -> Job:
        with self._transaction() as file:
            job = self.get_job(job_id)
            if job.state not in (states := frozenset(expected)):
                raise Refused(
                    f"the job {job_id} is {job.state}, not {' or '.join(sorted(states))}",
                    fix=f"see `wellspring job show {job_id}`",
                )
            changed = job.model_copy(update=changes)
            file.execute(
                "update jobs set state = ?, priority = ?, content = ? where id = ?",
                (changed.state, changed.priority, changed.model_dump_json(), job_id),
            )
        return changed

    def remove_ended(self, keep: int) -> list[str]:
        marks = ", ".join("?" * len(ENDED_STATES))
        with self._transaction() as file:
            rows = file.execute(
                f"select id from jobs where state in ({marks}) order by sequence desc limit -1 offset ?",  # noqa: S608
                (*sorted(ENDED_STATES), keep),
            ).fetchall()
            file.executemany("delete from jobs where id = ?", rows)
        return [str(job_id) for (job_id,) in rows]

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _parse_job(self, content: str) -> Job:
        try:
            return Job.model_validate_json(content)
        except ValidationError:
            raise CorruptedError(
                f"a job in {self._path} cannot be read", fix="keep the file; restore it from a copy, or move it away"
            ) from None

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Unavailable("the queue of jobs is closed", fix="run `wellspring up`")
        return self._connection

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with self._lock, self._mapped_errors():
            file = self._open_connection()
            file.execute("begin immediate")
            try:
                yield file
                file.execute("commit")
            finally:
                if file.in_transaction:
                    file.execute("rollback")

    @contextmanager
    def _mapped_errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.OperationalError as exc:
            raise Unavailable(
                f"the queue of jobs {self._path} cannot be read or written ({exc})",
                fix="free disk space or correct the owner of the folder, then try again",
            ) from None
        except sqlite3.DatabaseError as exc:
            raise CorruptedError(
                f"the queue of jobs {self._path} is damaged ({exc})", fix="keep the file; restore it from a copy"
            ) from None
