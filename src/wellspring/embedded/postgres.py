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
from wellspring.runtime.privileges import ServicePrivileges, service_environment

DATABASE_ROLE = "enclave"
# The only line: the superuser has no password and no line, so nobody logs in as it.
HBA_RULES = f"local {DATABASE_ROLE} {DATABASE_ROLE} scram-sha-256\n"
# Statements and details in PostgreSQL's log would carry rows, and rows are people: none of them is ever logged.
POSTGRES_SETTINGS = """
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


def postgres_data_dir(project: Project) -> Path:
    """PostgreSQL's data folder."""
    return project.state_dir / "postgres" / "data"


def start_initdb(project: Project, privileges: ServicePrivileges, programs: Path) -> subprocess.Popen[bytes]:
    """Start initdb; `finish` waits for it. The superuser gets no password, and every login but one is rejected."""
    argv = [
        str(programs / "initdb"),
        "--pgdata",
        str(postgres_data_dir(project)),
        "--username",
        "postgres",
        "--auth",
        "reject",
    ]
    argv += ["--encoding", "UTF8", "--locale", "C", "--wal-segsize", "4", "--no-instructions"]
    return subprocess.Popen(
        privileges.command_for("postgres", argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=service_environment(project, "postgres"),
        cwd="/",
    )


def finish_initdb(
    project: Project,
    privileges: ServicePrivileges,
    programs: Path,
    initdb_process: subprocess.Popen[bytes],
    password: str,
) -> None:
    """Create the enclave's role and database in single-user mode, before any socket is open.

    password: letters, digits, - and _ only; it travels over a pipe and is kept by the key server alone.
    """
    _wait_for_success(initdb_process, None, "initdb")
    folder = postgres_data_dir(project)
    (folder / "pg_hba.conf").write_text(HBA_RULES, encoding="ascii")
    with (folder / "postgresql.conf").open("a", encoding="ascii") as file:
        file.write(POSTGRES_SETTINGS)
    sql = f"CREATE ROLE {DATABASE_ROLE} LOGIN PASSWORD '{password}';\nCREATE DATABASE {DATABASE_ROLE} OWNER {DATABASE_ROLE};\n"
    single = subprocess.Popen(
        privileges.command_for(
            "postgres", [str(programs / "postgres"), "--single", "-j", "-D", str(folder), "postgres"]
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=service_environment(project, "postgres"),
        cwd="/",
    )
    # -j: a statement ends at a semicolon, newline, newline.
    _wait_for_success(single, sql.replace(";\n", ";\n\n").encode(), "postgres --single")


def remove_stale_lock(project: Project, *, timeout: float = 10.0) -> None:
    """Remove the lock file of a database that was killed, once no process of it is left.

    PostgreSQL takes a zombie, which nobody may be there to reap, for a running server, and refuses to start.
    """
    lock = postgres_data_dir(project) / "postmaster.pid"
    pause, deadline = threading.Event(), time.monotonic() + timeout
    while lock.exists() and _is_in_use(postgres_data_dir(project)):
        if time.monotonic() > deadline:
            raise Unavailable(
                f"a PostgreSQL still runs in {postgres_data_dir(project)}",
                fix="end it: it was not started by this supervisor",
            )
        pause.wait(0.05)
    lock.unlink(missing_ok=True)


def _is_in_use(folder: Path) -> bool:
    """Say whether any living process works in a folder, as PostgreSQL's do in their data."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(folder.resolve()):
                return True
        except OSError:
            continue
    return False


def postgres_command(project: Project, programs: Path) -> list[str]:
    """Return the command line of the server."""
    socket_dir = str(project.socket_path("postgres"))
    return [
        str(programs / "postgres"),
        "-D",
        str(postgres_data_dir(project)),
        "-c",
        f"unix_socket_directories={socket_dir}",
    ]


def is_postgres_ready(project: Project, programs: Path) -> bool:
    """Ask whether it takes connections, without logging in."""
    command = [str(programs / "pg_isready"), "-q", "-h", str(project.socket_path("postgres"))]
    command += ["-U", DATABASE_ROLE, "-d", DATABASE_ROLE, "-t", "2"]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, env=service_environment(project, "postgres"), check=False
    )
    return result.returncode == 0


def remove_postgres_data(project: Project) -> None:
    """Remove an unfinished database."""
    if postgres_data_dir(project).exists():
        shutil.rmtree(postgres_data_dir(project))


def _wait_for_success(process: subprocess.Popen[bytes], stdin_data: bytes | None, name: str) -> None:
    try:
        output, _ = process.communicate(stdin_data, timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Unavailable(f"{name} did not end within 60 seconds", fix="look at the machine's disk and load") from None
    text = output.decode(errors="replace")
    if process.returncode != 0 or "ERROR:" in text or "FATAL:" in text:
        last_lines = "\n".join(line for line in text.splitlines()[-20:] if "PASSWORD" not in line)
        raise Unavailable(f"{name} failed:\n{last_lines}", fix="mend what it says, then run `wellspring up` again")
