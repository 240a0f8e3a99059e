"""The enclave's database: a Unix socket in a folder that only the enclave enters, one role, no superuser login."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

from wellspring.errors import Unavailable
from wellspring.project import Project
from wellspring.servers.privileges import Privileges, environment

ROLE = "enclave"
# The only line: the superuser has no password and no line, so nobody logs in as it.
HBA = f"local {ROLE} {ROLE} scram-sha-256\n"
# Statements and details in PostgreSQL's log would carry rows, and rows are people: none of them is ever logged.
SETTINGS = """
listen_addresses = ''
unix_socket_permissions = 0770
password_encryption = 'scram-sha-256'
max_connections = 20
shared_buffers = '32MB'
min_wal_size = '32MB'
max_wal_size = '256MB'
wal_level = minimal
max_wal_senders = 0
log_min_error_statement = panic
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_error_verbosity = terse
log_statement = none
log_checkpoints = off
"""


def data(project: Project) -> Path:
    """PostgreSQL's data folder."""
    return project.state / "postgres" / "data"


def begin(project: Project, privileges: Privileges, programs: Path) -> subprocess.Popen[bytes]:
    """Start initdb; `finish` waits for it. The superuser gets no password, and every login but one is rejected."""
    argv = [str(programs / "initdb"), "--pgdata", str(data(project)), "--username", "house", "--auth", "reject"]
    argv += ["--encoding", "UTF8", "--locale", "C", "--wal-segsize", "4", "--no-instructions"]
    return subprocess.Popen(
        privileges.command("postgres", argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(project, "postgres"),
        cwd="/",
    )


def finish(
    project: Project, privileges: Privileges, programs: Path, started: subprocess.Popen[bytes], password: str
) -> None:
    """Create the enclave's role and database in single-user mode, before any socket is open.

    password: letters, digits, - and _ only; it travels over a pipe and is kept by the key server alone.
    """
    _wait(started, None, "initdb")
    folder = data(project)
    (folder / "pg_hba.conf").write_text(HBA, encoding="ascii")
    with (folder / "postgresql.conf").open("a", encoding="ascii") as file:
        file.write(SETTINGS)
    sql = f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}';\nCREATE DATABASE {ROLE} OWNER {ROLE};\n"
    single = subprocess.Popen(
        privileges.command("postgres", [str(programs / "postgres"), "--single", "-j", "-D", str(folder), "postgres"]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(project, "postgres"),
        cwd="/",
    )
    # -j: a statement ends at a semicolon, newline, newline.
    _wait(single, sql.replace(";\n", ";\n\n").encode(), "postgres --single")


def clear(project: Project, *, seconds: float = 10.0) -> None:
    """Remove the lock file of a database that was killed, once no process of it is left.

    PostgreSQL takes a zombie, which nobody may be there to reap, for a running server, and refuses to start.
    """
    lock = data(project) / "postmaster.pid"
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while lock.exists() and _inhabited(data(project)):
        if time.monotonic() > deadline:
            raise Unavailable(
                f"a PostgreSQL still runs in {data(project)}", fix="end it: it was not started by this supervisor"
            )
        pause.wait(0.05)
    lock.unlink(missing_ok=True)


def _inhabited(folder: Path) -> bool:
    """Say whether any living process works in a folder, as PostgreSQL's do in their data."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(folder.resolve()):
                return True
        except OSError:
            continue
    return False


def argv(project: Project, programs: Path) -> list[str]:
    """Return the command line of the server."""
    where = str(project.socket("postgres"))
    return [str(programs / "postgres"), "-D", str(data(project)), "-c", f"unix_socket_directories={where}"]


def is_ready(project: Project, programs: Path) -> bool:
    """Ask whether it takes connections, without logging in."""
    asked = [str(programs / "pg_isready"), "-q", "-h", str(project.socket("postgres"))]
    asked += ["-U", ROLE, "-d", ROLE, "-t", "2"]
    answered = subprocess.run(asked, stdin=subprocess.DEVNULL, env=environment(project, "postgres"), check=False)
    return answered.returncode == 0


def wipe(project: Project) -> None:
    """Remove an unfinished database."""
    if data(project).exists():
        shutil.rmtree(data(project))


def _wait(process: subprocess.Popen[bytes], given: bytes | None, name: str) -> None:
    try:
        said, _ = process.communicate(given, timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Unavailable(f"{name} did not end within 60 seconds", fix="look at the machine's disk and load") from None
    text = said.decode(errors="replace")
    if process.returncode != 0 or "ERROR:" in text or "FATAL:" in text:
        last = "\n".join(line for line in text.splitlines()[-20:] if "PASSWORD" not in line)
        raise Unavailable(f"{name} failed:\n{last}", fix="mend what it says, then run `wellspring up` again")
