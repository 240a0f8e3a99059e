"""The worker as a child of the supervisor: its sockets."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

from tests.builders import sockets
from tests.builders.jobs import write_project
from wellspring.project import load_project
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.unix_socket import PeerCredentials
from wellspring.supervisor.credential_channel import CredentialChannel
from wellspring.supervisor.managed_process import ManagedProcess
from wellspring.supervisor.worker_process import bind_jobs_socket, configure_project_code, configure_worker


def test_the_socket_of_jobs_is_for_its_owner_only(tmp_path: Path):
    handle = bind_jobs_socket(tmp_path / "jobs.sock")
    assert stat.S_IMODE((tmp_path / "jobs.sock").stat().st_mode) == 0o600
    assert os.get_inheritable(handle)
    os.close(handle)


def test_the_socket_of_project_code_is_for_the_worker_only_and_answers_when_the_server_does(tmp_path: Path):
    project = load_project(write_project(tmp_path), environ={})
    sockets.create_socket_folders(project)
    child = ManagedProcess(
        name="code", service="code", argv=["code"], readiness_probe=lambda: True, version="1", log_path=tmp_path / "log"
    )
    privileges = detect_privileges(project)
    path = project.socket_path("code")
    try:
        configure_project_code(child, project, privileges)
        (listener,) = child.inherited_fds
        assert child.argv == ["code", "--listener", str(listener)]
        info = path.stat()
        assert (stat.S_IMODE(info.st_mode), info.st_uid) == (0o600, privileges.uid_of("worker"))
        with socket.socket(fileno=listener) as server:
            server.settimeout(10)

            def answer() -> None:
                with server.accept()[0] as connection:
                    connection.send(b"{}")

            thread = threading.Thread(target=answer)
            thread.start()
            assert child.readiness_probe()
            thread.join()
        assert not child.readiness_probe()
    finally:
        sockets.remove_socket_folders(project)


def test_each_start_inherits_the_same_listener_and_a_new_credential_socket(tmp_path: Path):
    project = load_project(write_project(tmp_path), environ={})
    sockets.create_socket_folders(project)
    channel = CredentialChannel(dict, lambda: PeerCredentials(0, 0))
    child = ManagedProcess(
        name="worker",
        service="worker",
        argv=["worker"],
        readiness_probe=lambda: True,
        version="1",
        log_path=tmp_path / "worker.log",
    )
    try:
        configure_worker(child, project, channel)
        assert child.before_start is not None
        child.before_start()
        first = list(child.argv)
        listener, credentials = child.inherited_fds
        assert first == ["worker", "--listener", str(listener), "--credentials", str(credentials)]
        child.before_start()
        assert child.inherited_fds[0] == listener
        child.start(["/bin/true"], {})
        assert not child.readiness_probe()
        child.stop()
        socket.socket(fileno=listener).close()
    finally:
        channel.close()
        project.socket_path("jobs").unlink(missing_ok=True)
        sockets.remove_socket_folders(project)
