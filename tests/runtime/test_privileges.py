"""File access of the services: each tries to read each secret, as its own user and without capabilities."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import projects
from tests.builders.services import SECRETS, read
from wellspring.embedded import layout
from wellspring.project import Project
from wellspring.runtime import privileges
from wellspring.runtime.privileges import detect_privileges, is_closed_path
from wellspring.runtime.server_sockets import SOCKET_OWNERS
from wellspring.runtime.service_users import SERVICE_SLOTS, ServiceUsers

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give services users of their own")


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """A project with its folders and a secret of each kind, without servers."""
    with projects.create_project() as project:
        project.state_dir.mkdir()
        service_privileges = detect_privileges(project)
        layout.create_folders(project, service_privileges)
        for name, service in SECRETS.items():
            path = project.root / name
            if not path.parent.exists():
                path.parent.mkdir()
                service_privileges.set_owner(path.parent, service, 0o700)
            layout.write_secret_file(path, b"secret", service_privileges, service)
        yield project


@root_only
@pytest.mark.parametrize("name", SECRETS)
def test_only_its_owner_reads_a_secret(project: Project, name: str):
    service_privileges = detect_privileges(project)
    assert service_privileges.separation == "user"
    for service in SERVICE_SLOTS:
        assert read(service_privileges, service, project.root / name) == (service == SECRETS[name]), (
            f"{service} on {name}"
        )


@root_only
@pytest.mark.parametrize("setpriv", [None, "setpriv"])
def test_a_service_has_its_user_and_no_capabilities(project: Project, setpriv: str | None):
    users = ServiceUsers(64132)
    service_privileges = detect_privileges(project)._replace(closed_folders=False, setpriv_path=setpriv, users=users)
    for service in SERVICE_SLOTS:
        argv = service_privileges.command_for(service, ["cat", "/proc/self/status"])
        result = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        lines = dict(line.split(":", 1) for line in result.splitlines() if ":" in line)
        assert set(lines["Uid"].split()) == {str(users.uid_of(service))}
        assert set(lines["Gid"].split()) == {str(users.gid_of(service))}
        assert set(lines["Groups"].split()) == {str(group) for group in users.groups_of(service)}
        assert int(lines["CapEff"], 16) == int(lines["CapPrm"], 16) == int(lines["CapAmb"], 16) == 0


@root_only
@pytest.mark.parametrize("setpriv", [None, "setpriv"])
def test_a_closed_folder_needs_one_capability(project: Project, setpriv: str | None):
    service_privileges = detect_privileges(project)._replace(closed_folders=True, setpriv_path=setpriv)
    result = subprocess.run(
        service_privileges.command_for("worker", ["cat", "/proc/self/status"]),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = dict(line.split(":", 1) for line in result.splitlines() if ":" in line)
    assert int(lines["CapEff"], 16) == int(lines["CapAmb"], 16) == 1 << 2
    assert set(lines["Uid"].split()) == {str(ServiceUsers().uid_of("worker"))}


@root_only
def test_only_its_server_writes_in_a_folder_of_sockets_and_only_its_clients_enter(project: Project):
    granted = detect_privileges(project)._replace(closed_folders=False)
    layout.create_runtime_dir(project, granted)
    everyone = {*SERVICE_SLOTS, "another user"}
    clients = {
        "openbao": {"keys", "enclave", "worker", "api", "sequencer"},
        "postgres": {"postgres", "enclave"},
        "valkey": {"valkey", "worker", "api"},
        "witness": {"witness", "sequencer"},
        "project_code": {"worker"},
        "supervisor": set[str](),
        **dict.fromkeys(("enclave", "api", "sequencer"), everyone),
    }
    try:
        for folder, owner in SOCKET_OWNERS.items():
            path = project.runtime_dir / folder / "new"
            for user in everyone:
                is_service = user in SERVICE_SLOTS
                argv = ["/bin/sh", "-c", f"cd {path.parent} && echo entered && echo x > {path.name} && echo wrote"]
                command = granted.command_for(user, argv) if is_service else granted.command_as(65000, 65000, (), argv)
                done = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
                expected = ["entered"] * (user in clients[folder]) + ["wrote"] * (user == owner)
                assert done == expected, (folder, user)
        runtime = granted.command_for("enclave", ["touch", str(project.runtime_dir / "new")])
        assert subprocess.run(runtime, capture_output=True, check=False).returncode != 0
    finally:
        layout.remove_runtime_dir(project)


def test_without_root_separation_is_by_process(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    service_privileges = detect_privileges(project)
    assert service_privileges.separation == "process"
    assert service_privileges.reason.endswith("not by root")
    assert service_privileges.uid_of("worker") == 1000
    assert "--reuid" not in service_privileges.command_for("worker", ["true"])


def test_a_folder_closed_to_others_is_detected(tmp_path: Path):
    inner = tmp_path / "a/b"
    inner.mkdir(parents=True)
    (tmp_path / "a").chmod(0o700)
    assert is_closed_path(inner)
    assert not is_closed_path(Path("/usr"))


def test_a_child_inherits_nothing_of_the_callers_environment(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VAULT_TOKEN", "s.secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com")
    arguments = privileges.service_environment(project, "worker")
    assert "s.secret" not in arguments.values()
    assert "HTTPS_PROXY" not in arguments
    assert arguments["TMPDIR"] == str(project.state_dir / "tmp/worker")


@root_only
@pytest.mark.parametrize("setpriv", [True, False], ids=["setpriv", "shim"])
def test_access_finds_a_program_in_a_closed_folder(project: Project, tmp_path: Path, setpriv: bool):
    """access(2) ignores capabilities of other users than root by default; the service has exactly one."""
    program = tmp_path / "closed" / "program"
    program.parent.mkdir(mode=0o700)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    service_privileges = detect_privileges(project)._replace(closed_folders=True)
    service_privileges = service_privileges if setpriv else service_privileges._replace(setpriv_path=None)
    look = f"import os; print(os.access({str(program)!r}, os.X_OK)); print(open('/proc/self/status').read())"
    result = subprocess.run(
        service_privileges.command_for("postgres", [sys.executable, "-c", look]),
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    ).stdout
    assert result.startswith("True\n")
    current = {line.partition(":")[0]: line.split()[1] for line in result.splitlines() if line.startswith("Cap")}
    assert {current[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0000000000000004"}
