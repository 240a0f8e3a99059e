"""MLflow speaks with the one client with this start's certificate, and keeps to its folder: on the real server."""

import http.client
import importlib.util
import os
import re
import ssl
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.builders import projects
from tests.runtime.test_privileges import read
from wellspring.embedded import layout, mlflow
from wellspring.project import Project
from wellspring.records.clock import SystemClock
from wellspring.runtime.privileges import SERVICE_UIDS, detect_privileges, service_environment
from wellspring.supervisor.managed_process import ManagedProcess

PING = "/api/2.0/mlflow/experiments/get?experiment_id=0"
STORED = "/api/2.0/mlflow-artifacts/artifacts/a/b.txt"
# Read by others than MLflow: telemetry's common word, and GitPython's.
ELSEWHERE = {"DO_NOT_TRACK", "GIT_PYTHON_REFRESH"}


class Served(NamedTuple):
    """MLflow up, its port, and the certificates of another start."""

    project: Project
    port: int
    second: Project
    log: Path


def furnished(project: Project) -> None:
    granted = detect_privileges(project)
    layout.ensure_ownership(project)
    layout.create_folders(project, granted)
    mlflow.create_certificates(project, granted)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with projects.create_project() as project, projects.create_project() as second:
        furnished(project)
        furnished(second)
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
            yield Served(project, port, second, log)
        finally:
            child.stop()
            listening.close()


def requests(
    served: Served, context: ssl.SSLContext, *, method: str = "GET", path: str = PING, body: bytes = b""
) -> int:
    connection = http.client.HTTPSConnection("127.0.0.1", served.port, timeout=20, context=context)
    try:
        connection.request(method, path, body)
        return connection.getresponse().status
    finally:
        connection.close()


def knows(project: Project, *, shows: Path | None) -> ssl.SSLContext:
    """Trust the authority of a start, and show a certificate."""
    context = ssl.create_default_context(cafile=str(project.mlflow_files.ca_path))
    if shows is not None:
        context.load_cert_chain(str(shows))
    return context


@pytest.mark.live
@pytest.mark.slow
def test_the_worker_is_let_in(served: Served):
    assert requests(served, knows(served.project, shows=served.project.mlflow_files.client_path)) == 200


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("shown", ["nothing", "that of another start", "the server's own"])
def test_a_client_without_our_certificate_is_refused(served: Served, shown: str):
    own = mlflow.mlflow_data_dir(served.project) / "server.pem"
    path = {"nothing": None, "the server's own": own}.get(shown, served.second.mlflow_files.client_path)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        requests(served, knows(served.project, shows=path))


@pytest.mark.live
@pytest.mark.slow
def test_without_tls_it_says_nothing(served: Served):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    try:
        connection.request("GET", PING)
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            connection.getresponse()
    finally:
        connection.close()


@pytest.mark.live
@pytest.mark.slow
def test_the_worker_speaks_with_no_server_of_another_start(served: Served):
    with pytest.raises(ssl.SSLCertVerificationError):
        requests(served, knows(served.second, shows=served.project.mlflow_files.client_path))


@pytest.mark.live
@pytest.mark.slow
def test_what_it_is_told_is_what_it_does(served: Served):
    expected = knows(served.project, shows=served.project.mlflow_files.client_path)
    assert requests(served, expected, method="PUT", path=STORED, body=b"kept") == 200
    home = mlflow.mlflow_data_dir(served.project)
    assert (home / "mlflow.db").stat().st_size > 0
    assert (home / "artifacts/a/b.txt").read_bytes() == b"kept"
    assert {path.name for path in home.iterdir()} <= {"ca.pem", "server.pem", "mlflow.db", "artifacts"}
    # What it would run for others it does not: jobs are off.
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
        for service in SERVICE_UIDS:
            assert read(granted, service, path, content) == (service == owner), f"{service} on {path}"


def test_a_start_that_has_ended_leaves_no_certificate():
    with projects.create_project() as project:
        furnished(project)
        built = [*project.mlflow_files, *mlflow.mlflow_data_dir(project).glob("*.pem")]
        assert all(path.is_file() for path in built)
        assert len({path.read_bytes() for path in built}) == 3
        assert b"PRIVATE KEY" not in project.mlflow_files.ca_path.read_bytes()
        mlflow.remove_certificates(project)
        mlflow.remove_certificates(project)
        assert not [path for path in built if path.exists()]


def test_certificates_are_made_again_when_half_of_their_life_is_over():
    with projects.create_project() as project:
        furnished(project)
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


def test_the_installed_mlflow_knows_every_name_that_it_is_told():
    matches = importlib.util.find_spec("mlflow")
    assert matches is not None
    assert matches.origin is not None
    home = Path(matches.origin).parent
    texts = [(home / name).read_text() for name in ("server/constants.py", "environment_variables.py")]
    names = {name for text in texts for name in re.findall(r'"(_?MLFLOW_[A-Z_]+)"', text)}
    with projects.create_project() as project:
        result = set(mlflow.mlflow_environment(project))
    assert result - names == ELSEWHERE
    # The application that it is asked for is the one that `mlflow server` would run.
    assert f'app = "{mlflow.ASGI_APP}"' in (home / "server/__init__.py").read_text()


@pytest.mark.slow
def test_it_never_reads_a_pickle_or_runs_a_job(monkeypatch: pytest.MonkeyPatch):
    from mlflow import environment_variables as expected

    with projects.create_project() as project:
        for name, value in mlflow.mlflow_environment(project).items():
            monkeypatch.setenv(name, value)
    assert expected.MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get() is False
    assert expected.MLFLOW_SERVER_ENABLE_JOB_EXECUTION.get() is False
    assert expected.MLFLOW_DISABLE_TELEMETRY.get() is True
