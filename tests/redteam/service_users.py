"""A process of one user against the data, processes, sockets and roles of another service."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from tests.redteam.catalogue import attempt
from tests.redteam.target import Target, identify_service, run_as
from wellspring.embedded.postgres import SOCKET_NAME
from wellspring.runtime.run_state import read_run_state
from wellspring.runtime.service_users import ServiceUsers
from wellspring.trust.secrets.openbao import OpenBaoSecretStore


def list_folder(path: Path) -> str:
    """List a folder, which must have something in it."""
    return "listed" if os.listdir(path) else "empty"


def connect_socket(path: Path, kind: int = socket.SOCK_STREAM) -> str:
    with socket.socket(socket.AF_UNIX, kind) as connection:
        connection.connect(os.fspath(path))
        return "connected"


def find_pid(target: Target, server: str) -> int:
    running = read_run_state(target.project)
    assert running is not None
    return running.servers[server].pid


def _list_state(target: Target, name: str) -> Callable[[], str]:
    path = target.project.state_dir / name
    return lambda: list_folder(path)


@attempt("service-users", "other-user", refused="EACCES", allowed="listed", needs="servers")
def list_database_files(target: Target, is_twin: bool) -> str:
    """Another user lists PostgreSQL's data folder; PostgreSQL's own user may."""
    return target.run_as("postgres" if is_twin else "other-user", _list_state(target, "postgres/data"))


@attempt("service-users", "other-user", refused="EACCES", allowed="listed", needs="servers")
def list_key_storage(target: Target, is_twin: bool) -> str:
    """Another user lists OpenBao's storage; OpenBao's own user may."""
    return target.run_as("keys" if is_twin else "other-user", _list_state(target, "openbao"))


@attempt("service-users", "worker", refused="EACCES", allowed="listed", needs="servers")
def list_online_rows(target: Target, is_twin: bool) -> str:
    """The worker's uid lists the files of Valkey, around its access rules; Valkey's own user may."""
    return target.run_as("valkey" if is_twin else "worker", _list_state(target, "valkey"))


@attempt("service-users", "api", refused="EACCES", allowed="listed", needs="servers")
def list_stored_originals(target: Target, is_twin: bool) -> str:
    """The API's uid lists the vendors' stored files; the enclave's user may."""
    return target.run_as("enclave" if is_twin else "api", _list_state(target, "enclave"))


@attempt("service-users", "worker", refused="EACCES", allowed="connected", needs="servers")
def connect_to_database(target: Target, is_twin: bool) -> str:
    """The worker's uid connects to PostgreSQL; the enclave's uid may."""
    path = target.project.socket_path("postgres") / SOCKET_NAME
    return target.run_as("enclave" if is_twin else "worker", lambda: connect_socket(path))


@attempt("service-users", "other-user", refused="EACCES", allowed="connected", needs="servers")
def connect_to_key_server(target: Target, is_twin: bool) -> str:
    """Another user connects to OpenBao, where it could try passwords; the API's uid may connect."""
    path = target.project.socket_path("openbao")
    return target.run_as("api" if is_twin else "other-user", lambda: connect_socket(path))


@attempt("service-users", "worker", refused="EPERM", allowed="signalled", needs="servers")
def signal_the_enclave(target: Target, is_twin: bool) -> str:
    """The worker's uid signals the enclave; it may signal the worker's own process."""
    pid = find_pid(target, "worker" if is_twin else "enclave")

    def signal_process() -> str:
        os.kill(pid, 0)
        return "signalled"

    return target.run_as("worker", signal_process)


@attempt("service-users", "worker", refused="EACCES", allowed="read", needs="servers")
def read_memory_of_enclave(target: Target, is_twin: bool) -> str:
    """The worker's uid reads the memory map of the enclave's process; that of its own process it may read."""
    pid = find_pid(target, "enclave")

    def read_memory() -> str:
        with open(f"/proc/{os.getpid() if is_twin else pid}/maps", "rb") as maps:
            return "read" if maps.read(1) else "empty"

    # After a change of uid a process is not dumpable until it runs a program; the twin runs one.
    if is_twin:
        identity = target.identity("worker")
        command = ["setpriv", f"--reuid={identity.uid}", f"--regid={identity.gid}", "--clear-groups"]
        result = subprocess.run([*command, "/bin/cat", "/proc/self/maps"], capture_output=True, check=False)
        return "read" if result.stdout else "empty"
    return target.run_as("worker", read_memory)


@attempt("service-users", "other-user", refused="EACCES", allowed="attached", needs="servers")
def attach_shared_memory(target: Target, is_twin: bool) -> str:
    """Another user attaches PostgreSQL's shared memory, which has no folder that closes it; its own user may."""
    import ctypes

    users, segments = target.users, Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()[1:]
    rows = [line.split() for line in segments]
    owner = users.uid_of("postgres")
    number = next(int(row[1]) for row in rows if int(row[7]) == owner)

    def attach() -> str:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        # SHM_RDONLY
        if libc.shmat(number, None, 0o10000) == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "shmat")
        return "attached"

    return target.run_as("postgres" if is_twin else "other-user", attach)


@attempt("service-users", "worker", refused="EACCES", allowed="read", needs="servers")
def read_environment_of_the_worker(target: Target, is_twin: bool) -> str:
    """A process of the worker's uid reads the environment of the worker; of an unhardened program it may."""
    identity = target.identity("worker")
    argv = ["setpriv", f"--reuid={identity.uid}", f"--regid={identity.gid}", "--clear-groups", "/bin/cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        # It answers when it runs as the worker.
        program.stdin.write(b"x")
        program.stdin.flush()
        assert program.stdout.read(1) == b"x"
        pid = program.pid if is_twin else find_pid(target, "worker")

        def read_environment() -> str:
            with open(f"/proc/{pid}/environ", "rb") as environment:
                return "read" if environment.read(1) else "empty"

        return target.run_as("worker", read_environment)


@attempt("service-users", "other-user", refused="EACCES", allowed="connected", needs="servers")
def reach_the_store_from_another_project(target: Target, is_twin: bool) -> str:
    """The worker of another project, with its own range of uids, connects to the online store; this worker may."""
    path = target.project.socket_path("valkey")
    foreign = identify_service(ServiceUsers(target.users.first_uid + 32), "worker")
    return run_as(target.identity("worker") if is_twin else foreign, lambda: connect_socket(path))


@attempt(
    "service-users", "owner", refused="set aside", allowed="recorded once", needs="restart",
    recorded=("finding forged_row",),
)  # fmt: skip
def forge_a_row_of_the_outbox(target: Target, is_twin: bool) -> str:
    """Whoever owns the enclave's database adds a row to its outbox; one of the enclave is recorded once."""
    target.first_entry = 0
    assert target.restart
    if is_twin:
        return "recorded once" if target.count_actions("land") == target.restart.landed else "recorded again"
    return "recorded" if target.has_entry("accept contract:forged") else "set aside"


@attempt("small", "worker", refused="ended, named", allowed="left alone", needs="restart")
def leave_a_holder_of_a_lock(target: Target, is_twin: bool) -> str:
    """A process of the worker's uid keeps the lock of its journal after `down`; one without a lock is left alone."""
    report = target.restart
    if is_twin:
        return "left alone" if report.is_bystander_alive else "ended"
    is_named = str(report.holder_pid) in report.down_output
    return f"{'left alone' if report.is_holder_alive else 'ended'}, {'named' if is_named else 'not named'}"


@attempt("service-users", "worker", refused="NOPERM", allowed="read", needs="servers")
def stop_the_online_store(target: Target, is_twin: bool) -> str:
    """The worker's login of the online store changes its folder and stops it; it may ask for a row."""
    from redis.exceptions import NoPermissionError

    with open_store(target, "worker") as store:
        try:
            if is_twin:
                store.hget("any row", "x")
                return "read"
            store.config_set("dir", "/tmp")
        except NoPermissionError:
            pass
        try:
            store.shutdown(nosave=True)
        except NoPermissionError:
            return "NOPERM"
    return "stopped"


@contextlib.contextmanager
def open_store(target: Target, service: str) -> Generator[Any]:
    """Log in to the online store with the password of a service."""
    from redis import Redis

    with target.session(service) as session:
        login = OpenBaoSecretStore(session).read_secret(f"{service}/valkey")
    path = str(target.project.socket_path("valkey"))
    with Redis(unix_socket_path=path, username=login["user"], password=login["password"]) as store:
        yield store
