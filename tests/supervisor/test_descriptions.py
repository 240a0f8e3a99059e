"""The description of each server: its user, its command line and what it needs."""

import os
from pathlib import Path

from tests.builders import projects
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.supervisor.descriptions import ServerDescriptions


def test_a_listening_server_keeps_its_port_across_restarts():
    with projects.create_project(sections='[models]\nfolder = "models"\n') as project:
        child = ServerDescriptions(project, detect_privileges(project)).describe_mlflow()
        assert child.port
        assert child.argv[-2:] == ["--fd", str(child.inherited_fds[0])]
        assert os.get_inheritable(child.inherited_fds[0])
        os.close(child.inherited_fds[0])


def test_each_server_runs_as_its_own_service_and_writes_its_own_log():
    with projects.create_project() as project:
        describe = ServerDescriptions(project, detect_privileges(project))
        programs = Path("/programs")
        children = [
            describe.describe_openbao(programs / "bao"),
            describe.describe_postgres(programs),
            describe.describe_valkey(programs / "valkey-server"),
            describe.describe_python_server("enclave", "intake", module="wellspring.enclave"),
        ]
        assert [child.service for child in children] == ["keys", "postgres", "valkey", "enclave"]
        assert len({child.log_path for child in children}) == len(children)
        assert children[-1].argv[-4:] == ["-m", "wellspring.enclave", "--project", str(project.root)]
        assert children[-1].socket == find_server_socket(project, "intake")
