"""Two projects on one machine share nothing: 20 attempts of the services of one on the other, each of them refused."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.builders import projects
from wellspring.embedded.openbao_setup import issue_secret_id
from wellspring.errors import Refused
from wellspring.project import Project
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.run_state import find_server_port
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.service_users import read_service_users
from wellspring.supervisor import client

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may give services users of their own"),
]
SECTIONS = "[features]\n\n[models]\n"

ATTEMPT = """
import http.client, json, os, signal, socket, ssl, struct
def read(path):
    with open(path, "rb") as file:
        return len(file.read())
def write(path):
    with open(path, "ab") as file:
        return file.write(b"x")
def connect(path):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
def frame(path, request):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        body = json.dumps(request).encode()
        connection.sendall(struct.pack(">I", len(body)) + body)
        head = connection.recv(4)
        reply = json.loads(connection.recv(65536))
        if reply.get("slug") == "refused":
            raise PermissionError(reply["what"])
def line(path, request):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        connection.sendall(json.dumps(request).encode() + b"\\n")
        reply = json.loads(connection.recv(65536))
        if reply.get("error", {}).get("slug") == "refused":
            raise PermissionError("refused")
def api(path):
    connection = http.client.HTTPConnection("api", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    connection.request("GET", "/v1/models/denials")
    if connection.getresponse().status in (401, 403):
        raise PermissionError("refused")
def mlflow(port, ca, client):
    context = ssl._create_unverified_context()
    if client:
        context.load_cert_chain(client)
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
    connection.request("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0")
    return connection.getresponse().status
def kill(pid):
    os.kill(pid, signal.SIGTERM)
name, *arguments = words
try:
    outcome = f"done {globals()[name](*arguments)}"
except OSError as error:
    outcome = f"refused {type(error).__name__}"
"""


class Neighbors(NamedTuple):
    """Two running projects: the services of each try to reach the other."""

    first: Project
    second: Project


class Attempt(NamedTuple):
    """What a service of one project tries: a function of ATTEMPT and its arguments."""

    service: str
    words: tuple[object, ...]


@pytest.fixture(scope="module")
def neighbors() -> Iterator[Neighbors]:
    with projects.running_project(sections=SECTIONS) as first, projects.running_project(sections=SECTIONS) as second:
        if detect_privileges(first).separation != "user":
            pytest.skip("this container maps no other users")
        yield Neighbors(first, second)


def list_attempts(project: Project, neighbor: Project) -> dict[str, Attempt]:
    """List 20 attempts on a project: its sockets, files, services and credentials."""

    def socket(name: str) -> str:
        return str(project.socket_path(name))

    state, pids = project.state_dir, {row.name: row.pid for row in client.list_server_status(project)}
    port = find_server_port(project, "mlflow")
    own_certificate = str(neighbor.mlflow_files.client_path)
    return {
        "intake socket as the worker": Attempt("worker", ("frame", socket("intake"), {"op": "ping"})),
        "intake socket as the enclave": Attempt("enclave", ("frame", socket("intake"), {"op": "ping"})),
        "vault socket as the API": Attempt("api", ("frame", socket("vault"), {"op": "status"})),
        "vault socket as the worker": Attempt("worker", ("frame", socket("vault"), {"op": "detokenize"})),
        "control socket as the worker": Attempt("worker", ("line", socket("control"), {"op": "status"})),
        "API socket as the API": Attempt("api", ("api", socket("api"))),
        "OpenBao as the enclave": Attempt("enclave", ("connect", socket("openbao"))),
        "OpenBao as the worker": Attempt("worker", ("connect", socket("openbao"))),
        "PostgreSQL as the enclave": Attempt("enclave", ("connect", socket("postgres") + "/.s.PGSQL.5432")),
        "PostgreSQL as PostgreSQL": Attempt("postgres", ("connect", socket("postgres") + "/.s.PGSQL.5432")),
        "online store as the worker": Attempt("worker", ("connect", socket("valkey"))),
        "MLflow without a certificate": Attempt("worker", ("mlflow", port, "", "")),
        "MLflow with the certificate of the other project": Attempt("worker", ("mlflow", port, "", own_certificate)),
        "certificate of MLflow": Attempt("worker", ("read", str(project.mlflow_files.client_path))),
        "seal key as OpenBao": Attempt("keys", ("read", str(state / "seal.key"))),
        "credential of the supervisor": Attempt("keys", ("read", str(state / "supervisor.key"))),
        "data of PostgreSQL": Attempt("postgres", ("read", str(state / "postgres/data/PG_VERSION"))),
        "key of the witness": Attempt("witness", ("read", str(project.root / "witness/key"))),
        "journal of the enclave": Attempt("enclave", ("write", str(next((state / "journals/enclave").glob("*.log"))))),
        "process of the enclave": Attempt("enclave", ("kill", pids["enclave"])),
    }


def run_attempt(project: Project, attempt: Attempt) -> str:
    """Fork, become the user of a service without capabilities, try it, and return the outcome."""
    users = read_service_users(project)
    # What the child imports must be loaded: the interpreter may lie in a folder that is closed to the service.
    space: dict[str, Any] = {"words": attempt.words}
    code = compile(ATTEMPT, "attempt", "exec")
    codecs.lookup("idna")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setgroups(list(users.groups_of(attempt.service)))
            os.setresgid(*[users.gid_of(attempt.service)] * 3)
            os.setresuid(*[users.uid_of(attempt.service)] * 3)
            exec(code, space)
            os.write(writer, space["outcome"].encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as output:
        outcome = output.read()
    os.waitpid(child, 0)
    return outcome


def test_the_services_of_two_projects_have_different_users(neighbors: Neighbors):
    numbers = [read_service_users(project).numbers for project in neighbors]
    assert not numbers[0] & numbers[1]
    for project in neighbors:
        uids = read_service_users(project).uids
        owners = {row.name: row.uid for row in client.list_server_status(project)}
        assert owners.pop("supervisor") == 0
        assert set(owners.values()) == set(uids.values())
        assert 65534 not in owners.values()


def test_twenty_attempts_on_the_neighbor_are_refused(neighbors: Neighbors):
    for attacker, target in ((neighbors.first, neighbors.second), (neighbors.second, neighbors.first)):
        attempts = list_attempts(target, attacker)
        assert len(attempts) == 20
        outcomes = {name: run_attempt(attacker, attempt) for name, attempt in attempts.items()}
        assert {name: text for name, text in outcomes.items() if not text.startswith("refused")} == {}


def test_the_same_attempts_on_the_own_project_succeed_where_the_service_may(neighbors: Neighbors):
    """The attempts themselves work: a service reaches what is its own."""
    attempts = list_attempts(neighbors.first, neighbors.first)
    allowed = (
        "intake socket as the worker",
        "vault socket as the API",
        "OpenBao as the enclave",
        "OpenBao as the worker",
        "PostgreSQL as the enclave",
        "online store as the worker",
        "MLflow with the certificate of the other project",
        "certificate of MLflow",
        "seal key as OpenBao",
        "data of PostgreSQL",
        "key of the witness",
        "journal of the enclave",
    )
    outcomes = {name: run_attempt(neighbors.first, attempts[name]) for name in allowed}
    assert {name: text for name, text in outcomes.items() if not text.startswith("done")} == {}


def test_a_credential_of_one_project_is_worthless_in_the_other(neighbors: Neighbors):
    for role in ("worker", "enclave", "api"):
        with pytest.raises(Refused):
            projects.login_with_credential(neighbors.second, issue_secret_id(neighbors.first, role))
    with projects.login_with_credential(neighbors.first, issue_secret_id(neighbors.first, "worker")) as session:
        token = session.client.token
        assert token
        from wellspring.trust.identity.openbao import map_errors, open_client

        outsider = open_client(find_server_socket(neighbors.second, "openbao"), token)
        with pytest.raises(Refused), map_errors("look itself up"):
            outsider.auth.token.lookup_self()
        outsider.adapter.close()


def test_each_project_is_stopped_alone(neighbors: Neighbors):
    assert client.stop_servers(neighbors.second)
    assert {row.state for row in client.list_server_status(neighbors.first)} == {"up"}
    assert Path(neighbors.first.socket_path("intake")).exists()
