"""Each client knows the uid of its server, and sends nothing to a process of another user that serves the socket."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import feature_views, projects, sockets
from wellspring.client import Client
from wellspring.embedded import job_client, openbao, postgres, probes, valkey
from wellspring.embedded.control_socket import send_request
from wellspring.errors import Unavailable, WellspringError
from wellspring.project import Project
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.server_sockets import SOCKET_OWNERS, find_server_socket, find_server_uid
from wellspring.runtime.service_users import uid_range_path
from wellspring.settings import SOCKET_FOLDERS
from wellspring.stores.online.port import StoreLogin
from wellspring.stores.online.redis.adapter import REDIS
from wellspring.trust.identity.openbao import login_service, map_errors, open_client
from wellspring.trust.identity.users import login_user, resume_session
from wellspring.trust.ledger.remote_sequencer import RemoteSequencer
from wellspring.trust.ledger.witness import RemoteWitness
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.remote import EnclaveClient

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run servers of other users")
FOREIGN_UID = 65001
# It reports that it listens, and then how many bytes its first client sent.
FAKE_SERVER = """
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


def read_online(project: Project) -> None:
    reader = REDIS.open_reader(project, feature_views.views(feature_views.view()), StoreLogin("api", "secret"))
    asyncio.run(reader.get_live())


def write_online(project: Project) -> None:
    writer = REDIS.open_writer(project, StoreLogin("worker", "secret"))
    try:
        writer.get_live()
    finally:
        writer.close()


def renew_login(project: Project) -> None:
    with map_errors("renew this login"):
        open_client(find_server_socket(project, "openbao"), "a-token").auth.token.renew_self()


def resume(project: Project) -> None:
    with resume_session(project, "a-token"):
        pass


def log_in_as_service(project: Project) -> None:
    login_service(find_server_socket(project, "openbao"), role_id="role", wrapped_secret_id="secret")


CLIENTS: dict[str, tuple[str, Callable[[Project], Any]]] = {
    "command to the supervisor": ("control", lambda project: send_request(project, {"op": "status"})),
    "query of a job": ("jobs", lambda project: job_client.send_query(project, "status", "", {})),
    "login of a user": (
        "openbao",
        lambda project: login_user(
            find_server_socket(project, "openbao"), "ana", "a password", "123456", mount="users-0"
        ),
    ),
    "act of a user": ("openbao", resume),
    "login of a service": ("openbao", log_in_as_service),
    "renewal of a login": ("openbao", renew_login),
    "intake": ("intake", lambda project: EnclaveClient(find_server_socket(project, "intake")).list_files("vendor")),
    "tokenization": (
        "vault",
        lambda project: EnclaveClient(find_server_socket(project, "vault")).tokenize_values(
            "claim", ["CLM2026115000000"], purpose="review"
        ),
    ),
    "sequencer": (
        "sequencer",
        lambda project: RemoteSequencer(find_server_socket(project, "sequencer"), "worker").integrate(),
    ),
    "witness": ("witness", lambda project: RemoteWitness(find_server_socket(project, "witness")).verifier_key()),
    "API": ("api", lambda project: Client(project).health()),
    "API by its path": (
        "api",
        lambda project: Client(
            project.socket_path("api"), server_uid=find_server_uid(project, "api"), timeout=30
        ).health(),
    ),
    "reader of the online store": ("valkey", read_online),
    "writer of the online store": ("valkey", write_online),
    "database of the enclave": (
        "postgres",
        lambda project: VaultStore(
            find_server_socket(project, "postgres"),
            user="enclave",
            password="secret",
            database="enclave",
            outbox_key=bytes(32),
        ),
    ),
}
PROBES: dict[str, tuple[str, Callable[[Project], bool]]] = {
    "OpenBao": ("openbao", lambda project: openbao.is_openbao_active(find_server_socket(project, "openbao"))),
    "PostgreSQL": ("postgres", lambda project: postgres.is_postgres_ready(find_server_socket(project, "postgres"))),
    "Valkey": ("valkey", lambda project: valkey.is_valkey_ready(find_server_socket(project, "valkey"))),
    "witness": ("witness", lambda project: probes.responds_to_http(find_server_socket(project, "witness"), "/vkey")),
    "sequencer": ("sequencer", lambda project: probes.responds_to_line(find_server_socket(project, "sequencer"))),
    "enclave": ("intake", lambda project: probes.responds_to_ping(find_server_socket(project, "intake"))),
    "worker": ("jobs", job_client.is_worker_ready),
}


@pytest.fixture
def project() -> Iterator[Project]:
    """A project whose services have users of their own, as after an `up` of root."""
    with projects.create_project(sections="[features]") as project:
        project.state_dir.mkdir()
        sockets.create_socket_folders(project)
        sockets.record_service_users(project)
        yield project
        sockets.remove_socket_folders(project)


def serve_as(project: Project, name: str, uid: int) -> "subprocess.Popen[str]":
    """Start a server of this user at the path of a socket, in a folder that it may write."""
    path = project.socket_path(name)
    path = path / postgres.SOCKET_NAME if name == "postgres" else path
    project.runtime_dir.chmod(0o711)
    os.chown(path.parent, uid, uid)
    argv = [sys.executable, "-S", "-c", FAKE_SERVER, str(path)]
    server = subprocess.Popen(
        detect_privileges(project).command_as(uid, uid, (), argv), stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "listening\n"
    return server


def count_bytes(server: "subprocess.Popen[str]") -> int:
    """Return how many bytes the server's first client has sent."""
    output, _ = server.communicate(timeout=60)
    return int(output)


@root_only
@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_sends_a_byte_to_a_server_of_another_user(project: Project, client: str):
    name, call = CLIENTS[client]
    server = serve_as(project, name, FOREIGN_UID)
    with pytest.raises(Unavailable, match=f"uid {FOREIGN_UID} .* nothing was sent to it"):
        call(project)
    assert count_bytes(server) == 0


@root_only
@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_sends_its_request_to_its_own_server(project: Project, client: str):
    name, call = CLIENTS[client]
    server = serve_as(project, name, find_server_uid(project, name))
    # The server closes the connection without an answer.
    with pytest.raises(WellspringError):
        call(project)
    assert count_bytes(server) > 0


@root_only
@pytest.mark.parametrize("probe", PROBES)
def test_no_probe_sends_a_byte_to_a_server_of_another_user(project: Project, probe: str):
    name, is_ready = PROBES[probe]
    server = serve_as(project, name, FOREIGN_UID)
    assert not is_ready(project)
    assert count_bytes(server) == 0


def test_every_socket_has_a_client_in_this_table():
    # The client of project code: tests/runtime/test_project_code.py.
    assert {name for name, _ in CLIENTS.values()} == set(SOCKET_FOLDERS) - {"code"}


@root_only
def test_each_server_has_the_uid_of_its_service(project: Project):
    users = detect_privileges(project).users
    uids = {name: find_server_uid(project, name) for name in SOCKET_FOLDERS}
    assert uids["openbao"] == users.uid_of("keys")
    assert uids["intake"] == uids["vault"] == users.uid_of("enclave")
    assert uids["control"] == uids["jobs"] == uids["code"] == 0
    assert len(set(uids.values())) == len(SOCKET_OWNERS) - 1


@root_only
def test_without_users_of_their_own_all_servers_are_the_owners(project: Project):
    uid_range_path(project).unlink()
    assert {find_server_uid(project, name) for name in SOCKET_FOLDERS} == {0}
    sockets.record_service_users(project)
    os.chown(project.state_dir, 1000, 1000)
    assert {find_server_uid(project, name) for name in SOCKET_FOLDERS} == {1000}
    os.chown(project.state_dir, 0, 0)


def test_every_path_of_a_socket_is_short_enough(project: Project):
    paths = [project.socket_path(name) for name in SOCKET_FOLDERS]
    paths.append(project.socket_path("postgres") / postgres.SOCKET_NAME)
    assert all(len(os.fsencode(path)) < 80 for path in paths)
    assert len({path.relative_to(project.runtime_dir).parts[0] for path in paths}) == len(SOCKET_OWNERS)
    assert all(Path("/tmp") in path.parents for path in paths)
