"""A process that serves, or uses, a socket which belongs to another service."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

from tests.redteam.catalogue import attempt
from tests.redteam.service_users import connect_socket
from tests.redteam.shop_project import AUTHOR
from tests.redteam.target import OTHER_USER, Identity, Target, describe_outcome, run_as
from wellspring.client import Client
from wellspring.embedded.control_socket import send_request
from wellspring.runtime.privileges import ServicePrivileges
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.unix_socket import ServerSocket
from wellspring.socket_folder import SHARED_RUNTIME, SYSTEM_RUNTIME, name_socket_folder
from wellspring.trust.identity.users import login_user
from wellspring.trust.ledger.remote_sequencer import RemoteSequencer
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.remote import EnclaveClient

# It reports that it listens, and then how many bytes its first client has sent; it answers nothing.
_FALSE_SERVER = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
listener.listen()
print("listening", flush=True)
connection, _ = listener.accept()
connection.settimeout(20)
print(len(connection.recv(65536)), flush=True)
"""


@contextlib.contextmanager
def false_server(path: Path, identity: Identity) -> Generator[Callable[[], int]]:
    """Serve a socket as a user; the function that is returned counts the bytes that the first client sent."""
    argv = [sys.executable, "-S", "-c", _FALSE_SERVER, str(path)]
    # With the capability to read the interpreter, where its folder is closed.
    privileges = ServicePrivileges("user", "", True, shutil.which("setpriv"))
    command = privileges.command_as(identity.uid, identity.gid, (), argv)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        output = server.stdout
        assert output is not None
        assert output.readline() == "listening\n"
        try:
            yield lambda: int(output.readline())
        finally:
            server.kill()


def _send_to_false_server(target: Target, service: str, uid: int, call: Callable[[ServerSocket], object]) -> str:
    """Let a service serve a socket in a folder of its own, and a client that expects a uid connect to it."""
    identity = target.identity(service)
    path = target.create_folder(identity) / "false.sock"
    with false_server(path, identity) as count_bytes:

        def send() -> str:
            call(ServerSocket(path, uid))
            return "answered"

        outcome = describe_outcome(send)
        received = count_bytes()
    return f"{(received and 'bytes') or 'nothing'} received, {outcome}"


@attempt(
    "false-servers", "worker", refused="nothing received, unavailable", allowed="bytes received, unavailable",
    needs="servers",
)  # fmt: skip
def serve_logins_as_worker(target: Target, is_twin: bool) -> str:
    """The worker's uid serves OpenBao's socket and waits for a password; a client that expects its uid sends it."""
    uid = target.users.uid_of("worker" if is_twin else "keys")
    return _send_to_false_server(
        target, "worker", uid, lambda server: login_user(server, AUTHOR, "a password of ann", "123456", mount="users-0")
    )


@attempt(
    "false-servers", "api", refused="nothing received, unavailable", allowed="bytes received, unavailable",
    needs="servers",
)  # fmt: skip
def serve_sequencer_as_api(target: Target, is_twin: bool) -> str:
    """The API's uid serves the sequencer's socket; a client that expects its uid sends its request."""
    uid = target.users.uid_of("api" if is_twin else "sequencer")
    return _send_to_false_server(target, "api", uid, lambda server: RemoteSequencer(server, "worker").integrate())


@attempt(
    "false-servers", "worker", refused="nothing received, unavailable", allowed="bytes received, unavailable",
    needs="servers",
)  # fmt: skip
def serve_intake_as_worker(target: Target, is_twin: bool) -> str:
    """The worker's uid serves the enclave's socket; a client that expects its uid sends its request."""
    uid = target.users.uid_of("worker" if is_twin else "enclave")
    return _send_to_false_server(target, "worker", uid, lambda server: EnclaveClient(server).list_files("inbox"))


@attempt(
    "false-servers", "api", refused="nothing received, unavailable", allowed="bytes received, unavailable",
    needs="servers",
)  # fmt: skip
def serve_database_as_api(target: Target, is_twin: bool) -> str:
    """The API's uid serves PostgreSQL's socket; libpq sends its start message only to the expected uid."""
    uid = target.users.uid_of("api" if is_twin else "postgres")
    identity = target.identity("api")
    folder = target.create_folder(identity)
    with false_server(folder / ".s.PGSQL.5432", identity) as count_bytes:

        def connect() -> str:
            VaultStore(ServerSocket(folder, uid), user="enclave", password="x", database="enclave", outbox_key=b"x")
            return "answered"

        outcome = describe_outcome(connect)
        received = count_bytes()
    return f"{(received and 'bytes') or 'nothing'} received, {outcome}"


@attempt(
    "false-servers", "other-user", refused="nothing received, unavailable", allowed="bytes received, unavailable",
)  # fmt: skip
def serve_api_as_other_user(target: Target, is_twin: bool) -> str:
    """Another user serves a socket at the path of the API; a client that expects this user sends its request."""
    path = target.create_folder(OTHER_USER) / "api.sock"
    with false_server(path, OTHER_USER) as count_bytes:

        def predict() -> str:
            with Client(path, server_uid=OTHER_USER.uid if is_twin else 64_104, timeout=20) as client:
                client.health()
            return "answered"

        outcome = describe_outcome(predict)
        received = count_bytes()
    return f"{(received and 'bytes') or 'nothing'} received, {outcome}"


@contextlib.contextmanager
def _replaced_socket(target: Target, name: str, service: str) -> Generator[Callable[[], int]]:
    """Put a socket of a service in the place of a server's, as if it could write the folder."""
    path = target.project.socket_path(name)
    aside, folder = path.with_name("aside"), path.parent
    owner = folder.stat()
    identity = Identity(0, 0) if service == "owner" else target.identity(service)
    path.rename(aside)
    os.chown(folder, identity.uid, owner.st_gid)
    try:
        with false_server(path, identity) as count_bytes:
            yield count_bytes
    finally:
        path.unlink(missing_ok=True)
        aside.rename(path)
        os.chown(folder, owner.st_uid, owner.st_gid)


@attempt(
    "false-servers", "worker", refused="exit 69, nothing received", allowed="exit 69, bytes received", needs="model"
)
def take_a_password_at_the_terminal(target: Target, is_twin: bool) -> str:
    """The worker's socket lies at OpenBao's path while ann types her password; one of OpenBao's uid receives it."""
    shop = target.released
    with _replaced_socket(target, "openbao", "keys" if is_twin else "worker") as count_bytes:
        answers = [("name: ", AUTHOR), ("password: ", "a password of ann"), ("code: ", "123456")]
        result = shop.run_at_terminal(("release", "rollback", "returns"), answers)
        received = count_bytes()
    return f"exit {result.exit_code}, {(received and 'bytes') or 'nothing'} received"


@attempt(
    "false-servers", "worker", refused="nothing received, unavailable", allowed="bytes received, unavailable",
    needs="servers",
)  # fmt: skip
def serve_commands_of_the_owner(target: Target, is_twin: bool) -> str:
    """The worker's socket lies at the supervisor's path, to which a new password goes; root's receives it."""
    with _replaced_socket(target, "control", "owner" if is_twin else "worker") as count_bytes:

        def send() -> str:
            send_request(target.project, {"op": "enroll", "name": "x", "password": "y"}, timeout=10)
            return "answered"

        outcome = describe_outcome(send)
        received = count_bytes()
    return f"{(received and 'bytes') or 'nothing'} received, {outcome}"


@attempt("false-servers", "worker", refused="EACCES", allowed="bound", needs="servers")
def bind_socket_of_enclave(target: Target, is_twin: bool) -> str:
    """The worker's uid binds a socket in the enclave's folder; in its own folder for temporary files it may."""
    folder = target.project.state_dir / "tmp/worker" if is_twin else target.project.socket_path("intake").parent

    def bind() -> str:
        path = folder / "laid.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
        path.unlink()
        return "bound"

    return target.run_as("worker", bind)


@attempt("false-servers", "api", refused="EACCES", allowed="removed", needs="servers")
def remove_socket_of_worker(target: Target, is_twin: bool) -> str:
    """The API's uid removes the socket of jobs, to bind its own; a socket in its own folder it may remove."""
    jobs = target.project.socket_path("jobs")

    def remove() -> str:
        path = jobs
        if is_twin:
            path = target.project.socket_path("api").with_name("laid.sock")
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        path.unlink()
        return "removed"

    return target.run_as("api", remove)


@attempt("false-servers", "api", refused="EACCES", allowed="connected", needs="servers")
def submit_a_job_as_api(target: Target, is_twin: bool) -> str:
    """The API's uid connects to the socket of jobs; the owner may."""
    path = target.project.socket_path("jobs")
    return connect_socket(path) if is_twin else target.run_as("api", lambda: connect_socket(path))


@attempt("false-servers", "api", refused="EACCES", allowed="connected", needs="servers")
def run_project_code_as_api(target: Target, is_twin: bool) -> str:
    """The API's uid connects to the server of project code; the worker's uid may."""
    path = target.project.socket_path("code")
    return target.run_as("worker" if is_twin else "api", lambda: connect_socket(path, socket.SOCK_SEQPACKET))


@attempt("false-servers", "worker", refused="EACCES", allowed="connected", needs="servers")
def ask_witness_for_a_cosignature(target: Target, is_twin: bool) -> str:
    """The worker's uid connects to the witness, which cosigns checkpoints; the sequencer's uid may."""
    path = target.project.socket_path("witness")
    return target.run_as("sequencer" if is_twin else "worker", lambda: connect_socket(path))


@attempt("false-servers", "worker", refused="refused", allowed="answered", needs="servers")
def ask_supervisor_for_a_credential(target: Target, is_twin: bool) -> str:
    """The worker's uid asks the supervisor for the enclave's credential; the owner may ask for the status."""

    def ask() -> str:
        send_request(target.project, {"op": "status"} if is_twin else {"op": "credential", "role": "enclave"})
        return "answered"

    return describe_outcome(ask) if is_twin else target.run_as("worker", ask)


@attempt(
    "false-servers", "owner", refused="refused", allowed="answered", needs="servers",
    recorded=("control server:supervisor",),
)  # fmt: skip
def ask_supervisor_for_a_role(target: Target, is_twin: bool) -> str:
    """The owner asks the supervisor for a credential, which no request returns; for the status it may ask."""

    def ask() -> str:
        send_request(target.project, {"op": "status"} if is_twin else {"op": "credential", "role": "enclave"})
        return "answered"

    return describe_outcome(ask)


@attempt("false-servers", "other-user", refused="refused", allowed="answered", needs="servers", recorded=("connect",))
def list_files_of_a_source(target: Target, is_twin: bool) -> str:
    """Another user sends the enclave a request of the worker; the worker's uid may."""
    server = find_server_socket(target.project, "intake")

    def ask() -> str:
        EnclaveClient(server).list_files("inbox")
        return "answered"

    return target.run_as("worker" if is_twin else "other-user", ask)


@attempt(
    "false-servers", "other-user", refused="refused", allowed="answered", needs="servers",
    recorded=("connect server:sequencer",),
)  # fmt: skip
def pack_lines_of_the_log(target: Target, is_twin: bool) -> str:
    """Another user asks the sequencer to pack lines; the worker's uid may."""
    server = find_server_socket(target.project, "sequencer")

    def ask() -> str:
        RemoteSequencer(server, "worker").read_status()
        return "answered"

    return target.run_as("worker" if is_twin else "other-user", ask)


@attempt("false-servers", "other-user", refused="EACCES", allowed="created")
def take_the_folder_of_sockets(target: Target, is_twin: bool) -> str:
    """Another user creates the folder of a project's sockets before root does; in /tmp it may create one."""
    path = (SHARED_RUNTIME if is_twin else SYSTEM_RUNTIME) / name_socket_folder(target.folder / "unstarted")
    if not is_twin:
        SYSTEM_RUNTIME.mkdir(exist_ok=True)

    def create() -> str:
        path.mkdir()
        path.rmdir()
        return "created"

    return run_as(OTHER_USER, create)
