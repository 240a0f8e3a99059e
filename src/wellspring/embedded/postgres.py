"""Configures the enclave's PostgreSQL: one Unix socket that only the enclave can reach and one role."""

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
# The only rule. No rule covers the superuser, so every login as superuser is rejected.
HBA_RULES = f"local {DATABASE_ROLE} {DATABASE_ROLE} scram-sha-256\n"
# Logged statements and error details would contain rows with personal data, so both are off.
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
    """Return PostgreSQL's data folder."""
    return project.state_dir / "postgres" / "data"


def start_initdb(project: Project, privileges: ServicePrivileges, programs: Path) -> subprocess.Popen[bytes]:
    """Start initdb, without a superuser password and with every login rejected. `finish_initdb` waits for it."""
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
    """Wait for initdb, then create the enclave's role and database in single-user mode, before any socket is open.

    password: letters, digits, - and _ only. It is passed over a pipe, and only OpenBao stores it.
    """
    _wait_for_success(initdb_process, None, "initdb")
    folder = postgres_data_dir(project)
    (folder / "pg_hba.conf").write_text(HBA_RULES, encoding="ascii")
    with (folder / "postgresql.conf").open("a", encoding="ascii") as file:
        file.write(POSTGRES_SETTINGS)
    create_role = f"CREATE ROLE {DATABASE_ROLE} LOGIN PASSWORD '{password}'"
    create_database = f"CREATE DATABASE {DATABASE_ROLE} OWNER {DATABASE_ROLE}"
    single_user_process = subprocess.Popen(
        privileges.command_for(
            "postgres", [str(programs / "postgres"), "--single", "-j", "-D", str(folder), "postgres"]
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=service_environment(project, "postgres"),
        cwd="/",
    )
    # -j: a statement ends with a semicolon and two newlines.
    sql = f"{create_role};\n\n{create_database};\n\n"
    _wait_for_success(single_user_process, sql.encode(), "postgres --single")


def remove_stale_lock(project: Project, *, timeout: float = 10.0) -> None:
    """Remove the lock file of a killed PostgreSQL when none of its processes is left. timeout: seconds.

    PostgreSQL refuses to start if the process of its lock file exists, even as a zombie. Raises Unavailable.
    """
    lock = postgres_data_dir(project) / "postmaster.pid"
    pause, deadline = threading.Event(), time.monotonic() + timeout
    while lock.exists() and _is_in_use(postgres_data_dir(project)):
        if time.monotonic() > deadline:
            raise Unavailable(
                f"PostgreSQL still runs in {postgres_data_dir(project)}",
                fix="stop it: this supervisor did not start it",
            )
        pause.wait(0.05)
    lock.unlink(missing_ok=True)


def _is_in_use(folder: Path) -> bool:
    """Return True if a process has this working directory, as PostgreSQL's processes do."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(folder.resolve()):
                return True
        except OSError:
            continue
    return False


def postgres_command(project: Project, programs: Path) -> list[str]:
    """Return PostgreSQL's command line."""
    socket_dir = str(project.socket_path("postgres"))
    return [
        str(programs / "postgres"),
        "-D",
        str(postgres_data_dir(project)),
        "-c",
        f"unix_socket_directories={socket_dir}",
    ]


def is_postgres_ready(project: Project, programs: Path) -> bool:
    """Return True if PostgreSQL accepts connections; does not log in."""
    command = [str(programs / "pg_isready"), "-q", "-h", str(project.socket_path("postgres"))]
    command += ["-U", DATABASE_ROLE, "-d", DATABASE_ROLE, "-t", "2"]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, env=service_environment(project, "postgres"), check=False
    )
    return result.returncode == 0


def remove_postgres_data(project: Project) -> None:
    """Remove the data folder of an unfinished bootstrap."""
    if postgres_data_dir(project).exists():
        shutil.rmtree(postgres_data_dir(project))


def _wait_for_success(process: subprocess.Popen[bytes], stdin_data: bytes | None, name: str) -> None:
    try:
        output, _ = process.communicate(stdin_data, timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Unavailable(f"{name} did not end within 60 seconds", fix="check the machine's disk and load") from None
    text = output.decode(errors="replace")
    if process.returncode != 0 or "ERROR:" in text or "FATAL:" in text:
        last_lines = "\n".join(line for line in text.splitlines()[-20:] if "PASSWORD" not in line)
        raise Unavailable(f"{name} failed:\n{last_lines}", fix="fix the reported error, then run `wellspring up` again")
