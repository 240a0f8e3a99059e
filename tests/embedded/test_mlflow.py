"""MLflow accepts only the client certificate of this start and writes only to its folder. Uses the real server."""

import http.client
import importlib.util
import os
import re
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.builders import projects
from tests.builders.services import read
from wellspring.embedded import layout, mlflow
from wellspring.errors import Unavailable
from wellspring.project import Project
from wellspring.records.clock import SystemClock
from wellspring.runtime.privileges import detect_privileges, service_environment
from wellspring.runtime.service_users import SERVICE_SLOTS
from wellspring.supervisor.managed_process import ManagedProcess

PING = "/api/2.0/mlflow/experiments/get?experiment_id=0"
STORED = "/api/2.0/mlflow-artifacts/artifacts/a/b.txt"
# Variables that other packages read: the common telemetry switch and GitPython's.
ELSEWHERE = {"DO_NOT_TRACK", "GIT_PYTHON_REFRESH"}


class Served(NamedTuple):
    """A running MLflow, its port, and a project with the certificates of another start."""

    project: Project
    port: int
    second: Project
    log: Path
    child: ManagedProcess


def prepare_project(project: Project) -> None:
    granted = detect_privileges(project)
    layout.ensure_ownership(project)
    layout.create_folders(project, granted)
    mlflow.create_certificates(project, granted)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with projects.create_project() as project, projects.create_project() as second:
        prepare_project(project)
        prepare_project(second)
        listening = mlflow.bind_mlflow_port()
        port = int(listening.getsockname()[1])
        listening.set_inheritable(True)
        argv = [sys.executable, "-P", "-m", "wellspring.embedded.mlflow", "--project", str(project.root)]
        log = project.state_dir / "logs/mlflow.log"
        child = ManagedProcess(
            "mlflow", "mlflow", [*argv, "--fd", str(listening.fileno())],
            lambda: mlflow.is_mlflow_ready(project, port), "?", log, port=port, inherited_fds=(listening.fileno(),),
        )  # fmt: skip
        try:
            child.start(
                detect_privileges(project).command_for("mlflow", child.argv), service_environment(project, "mlflow")
            )
            child.wait_ready(time.monotonic() + 75)
            yield Served(project, port, second, log, child)
        finally:
            child.stop()
            listening.close()


def requests(
    served: Served, context: ssl.SSLContext, *, method: str = "GET", path: str = PING, body: bytes = b""
) -> int:
    connection = http.client.HTTPSConnection("127.0.0.1", served.port, timeout=60, context=context)
    try:
        connection.request(method, path, body)
        return connection.getresponse().status
    finally:
        connection.close()


def tls_context(project: Project, *, certificate: Path | None) -> ssl.SSLContext:
    """Trust the authority of a project's start; certificate: the client certificate, if any."""
    context = ssl.create_default_context(cafile=str(project.mlflow_files.ca_path))
    if certificate is not None:
        context.load_cert_chain(str(certificate))
    return context


@pytest.mark.live
@pytest.mark.slow
def test_the_workers_certificate_is_accepted(served: Served):
    assert requests(served, tls_context(served.project, certificate=served.project.mlflow_files.client_path)) == 200


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("shown", ["nothing", "that of another start", "the server's own"])
def test_a_client_without_our_certificate_is_refused(served: Served, shown: str):
    own = mlflow.mlflow_data_dir(served.project) / "server.pem"
    path = {"nothing": None, "the server's own": own}.get(shown, served.second.mlflow_files.client_path)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        requests(served, tls_context(served.project, certificate=path))


@pytest.mark.live
@pytest.mark.slow
def test_a_request_without_tls_gets_no_response(served: Served):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        connection.request("GET", PING)
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            connection.getresponse()
    finally:
        connection.close()


@pytest.mark.live
@pytest.mark.slow
def test_the_client_rejects_the_server_of_another_start(served: Served):
    with pytest.raises(ssl.SSLCertVerificationError):
        requests(served, tls_context(served.second, certificate=served.project.mlflow_files.client_path))


@pytest.mark.live
@pytest.mark.slow
def test_files_and_jobs_follow_the_environment(served: Served):
    expected = tls_context(served.project, certificate=served.project.mlflow_files.client_path)
    assert requests(served, expected, method="PUT", path=STORED, body=b"kept") == 200
    home = mlflow.mlflow_data_dir(served.project)
    assert (home / "mlflow.db").stat().st_size > 0
    assert (home / "artifacts/a/b.txt").read_bytes() == b"kept"
    assert {path.name for path in home.iterdir()} <= {"ca.pem", "server.pem", "mlflow.db", "artifacts"}
    # Jobs are disabled.
    assert requests(served, expected, path="/ajax-api/3.0/jobs/1") != 200
    assert not re.search("ERROR|Traceback", served.log.read_text())


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give services users of their own")
def test_no_other_service_reads_a_key(served: Served):
    granted = detect_privileges(served.project)
    for path, owner in ((mlflow.mlflow_data_dir(served.project) / "server.pem", "mlflow"),
                        (served.project.mlflow_files.client_path, "worker")):  # fmt: skip
        content = path.read_bytes()
        for service in SERVICE_SLOTS:
            assert read(granted, service, path, content) == (service == owner), f"{service} on {path}"


@pytest.mark.live
@pytest.mark.slow
def test_certificates_are_renewed_while_the_server_runs(served: Served, tmp_path: Path):
    process = served.child.process
    assert process is not None
    granted, client_path = detect_privileges(served.project), served.project.mlflow_files.client_path
    kept_open = http.client.HTTPSConnection(
        "127.0.0.1", served.port, timeout=60, context=tls_context(served.project, certificate=client_path)
    )
    kept_open.request("GET", PING)
    kept_open.getresponse().read()
    former = [tmp_path / name for name in ("first.pem", "second.pem")]
    for copy in former:
        copy.write_bytes(client_path.read_bytes())
        presented = ssl.get_server_certificate(("127.0.0.1", served.port))
        mlflow.renew_certificates(served.project, granted, served.port, lambda: process.send_signal(signal.SIGHUP))
        assert ssl.get_server_certificate(("127.0.0.1", served.port)) != presented
        assert client_path.read_bytes() != copy.read_bytes()
        # The new certificate and the former one work, an earlier one does not.
        assert requests(served, tls_context(served.project, certificate=client_path)) == 200
        assert requests(served, tls_context(served.project, certificate=copy)) == 200
    with pytest.raises((ssl.SSLError, ConnectionError)):
        requests(served, tls_context(served.project, certificate=former[0]))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        requests(served, tls_context(served.project, certificate=None))
    # The process is the same, and a connection from before works on.
    assert process.poll() is None
    kept_open.request("GET", PING)
    assert kept_open.getresponse().status == 200
    kept_open.close()


def test_a_server_that_does_not_take_its_new_certificate_is_unavailable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mlflow, "_RELOAD_TIMEOUT", 0.1)
    with projects.create_project() as project, mlflow.bind_mlflow_port() as unused:
        prepare_project(project)
        port = unused.getsockname()[1]
        unused.close()
        with pytest.raises(Unavailable, match="does not use its new certificate"):
            mlflow.renew_certificates(project, detect_privileges(project), port, lambda: None)


def test_removing_certificates_leaves_no_file():
    with projects.create_project() as project:
        prepare_project(project)
        built = [*project.mlflow_files, *mlflow.mlflow_data_dir(project).glob("*.pem")]
        assert all(path.is_file() for path in built)
        assert len({path.read_bytes() for path in built}) == 3
        assert b"PRIVATE KEY" not in project.mlflow_files.ca_path.read_bytes()
        mlflow.remove_certificates(project)
        mlflow.remove_certificates(project)
        assert not [path for path in built if path.exists()]


def test_certificates_are_renewed_after_half_of_their_validity():
    with projects.create_project() as project:
        prepare_project(project)
        granted, now = detect_privileges(project), SystemClock().now()

        def built(instant: datetime) -> bytes:
            mlflow.prepare_certificates(project, granted, instant)
            return (mlflow.mlflow_data_dir(project) / "server.pem").read_bytes()

        first = built(now)
        assert built(now + timedelta(days=14)) == first
        assert not mlflow.certificates_expiring(project, now + timedelta(days=14))
        assert mlflow.certificates_expiring(project, now + timedelta(days=16))
        assert built(now + timedelta(days=16)) != first
        mlflow.remove_certificates(project)
        assert mlflow.certificates_expiring(project, now)
        assert built(now)


def test_the_installed_mlflow_defines_every_environment_variable():
    matches = importlib.util.find_spec("mlflow")
    assert matches is not None
    assert matches.origin is not None
    home = Path(matches.origin).parent
    texts = [(home / name).read_text() for name in ("server/constants.py", "environment_variables.py")]
    names = {name for text in texts for name in re.findall(r'"(_?MLFLOW_[A-Z_]+)"', text)}
    with projects.create_project() as project:
        result = set(mlflow.mlflow_environment(project))
    assert result - names == ELSEWHERE
    # `mlflow server` runs the same application.
    assert f'app = "{mlflow.ASGI_APP}"' in (home / "server/__init__.py").read_text()


@pytest.mark.slow
def test_pickles_jobs_and_telemetry_are_disabled(monkeypatch: pytest.MonkeyPatch):
    from mlflow import environment_variables as expected

    with projects.create_project() as project:
        for name, value in mlflow.mlflow_environment(project).items():
            monkeypatch.setenv(name, value)
    assert expected.MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get() is False
    assert expected.MLFLOW_SERVER_ENABLE_JOB_EXECUTION.get() is False
    assert expected.MLFLOW_DISABLE_TELEMETRY.get() is True
