"""OpenBao's configuration and listeners. Uses the real server."""

import socket
import ssl
import time

import psutil
import pytest

from tests.builders import projects
from wellspring.embedded import openbao
from wellspring.embedded.openbao_setup import issue_secret_id
from wellspring.project import Project
from wellspring.runtime.run_state import read_run_state
from wellspring.runtime.server_sockets import find_server_socket

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def project(shared_project: Project) -> Project:
    return shared_project


def ports(project: Project) -> list[tuple[str, int]]:
    running = read_run_state(project)
    assert running is not None
    process = psutil.Process(running.servers["openbao"].pid)
    return [
        net_connection.laddr for net_connection in process.net_connections("inet") if net_connection.status == "LISTEN"
    ]


def test_openbao_is_active_and_healthy(project: Project):
    assert openbao.is_openbao_active(find_server_socket(project, "openbao"))
    health = openbao.fetch_health(find_server_socket(project, "openbao"))
    assert health is not None
    assert (health["initialized"], health["sealed"]) == (True, False)


def test_every_port_is_on_loopback(project: Project):
    assert {address for address, _ in ports(project)} == {"127.0.0.1"}


def test_no_port_responds_without_a_client_certificate(project: Project):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    assert ports(project)
    for address in ports(project):
        with socket.create_connection(address, timeout=60) as plain:
            try:
                with context.wrap_socket(plain) as requests:
                    # In TLS 1.3 the refusal arrives with the first response.
                    requests.sendall(b"GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n")
                    answer = requests.recv(100)
            except (ssl.SSLError, ConnectionError):
                answer = b""
        assert answer == b""


def test_no_port_responds_to_plain_http(project: Project):
    for address in ports(project):
        with socket.create_connection(address, timeout=60) as plain:
            plain.sendall(b"GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                answer = plain.recv(1000)
            except ConnectionResetError:
                answer = b""
            assert b"initialized" not in answer


def test_the_certificate_files_of_the_tcp_listener_are_removed(project: Project):
    assert list(openbao.openbao_data_dir(project).glob("*.pem")) == []


def test_a_batch_of_ten_thousand_items_is_accepted(project: Project):
    with projects.login_with_credential(project, issue_secret_id(project, "enclave")) as session:
        items = [{"ciphertext": "vault:v1:AAAA"}] * 10_000
        # Each item fails by itself, so the listener has read the whole batch.
        answer = session.client.adapter.post(
            "/v1/transit/decrypt/originals", json={"batch_input": items}, raise_exception=False
        )
        assert len(answer.json()["data"]["batch_results"]) == 10_000


def test_every_request_is_in_the_audit_log(project: Project):
    log = openbao.openbao_data_dir(project) / "audit.log"
    before = log.stat().st_size
    projects.login_with_credential(project, issue_secret_id(project, "worker")).close()
    deadline = time.monotonic() + 60
    while log.stat().st_size == before and time.monotonic() < deadline:
        continue
    added = log.read_bytes()[before:]
    assert b"auth/approle/login" in added
    assert b"sys/wrapping/unwrap" in added


def test_without_a_server_there_is_no_health():
    with projects.create_project() as bare:
        assert openbao.fetch_health(find_server_socket(bare, "openbao")) is None
        assert not openbao.is_openbao_active(find_server_socket(bare, "openbao"))
