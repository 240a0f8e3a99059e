"""Starting, listing, stopping and removing servers. Uses the real servers."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.builders import projects
from wellspring.embedded import sftp
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.project import Project, load_project
from wellspring.runtime.process_pause import are_stopped, stop_processes
from wellspring.runtime.run_state import RunState, find_server_port, read_run_state
from wellspring.runtime.service_users import read_service_users
from wellspring.supervisor import client
from wellspring.supervisor.managed_process import is_same_process, wait_for_exit

pytestmark = pytest.mark.live
REQUIRED_SERVERS = {"openbao", "postgres", "sftp", "witness", "sequencer", "enclave", "worker", "code"}
UP = """
import sys
from pathlib import Path
from wellspring.project import load_project
from wellspring.supervisor.client import start_servers
print(start_servers(load_project(Path(sys.argv[1]))).supervisor.pid)
"""


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """A project for all tests of this file, so its keys are created once. Each test starts and stops the servers."""
    with projects.create_project() as project:
        yield project


@pytest.fixture
def bare() -> Iterator[Project]:
    """A project whose servers were never started."""
    with projects.create_project() as project:
        yield project


def project_processes(project: Project) -> list[str]:
    """List the command lines of running processes that name a folder of the project."""
    matches: list[str] = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        belongs_to_project = str(project.root) in line or str(project.runtime_dir) in line
        if belongs_to_project and process.pid != os.getpid() and process.info["status"] != psutil.STATUS_ZOMBIE:
            matches.append(line)
    return matches


def listening(running: RunState) -> list[int]:
    """List the loopback ports of a project's processes."""
    ports: list[int] = []
    for server in running.servers.values():
        if psutil.pid_exists(server.pid):
            ports += [
                net_connection.laddr.port
                for net_connection in psutil.Process(server.pid).net_connections()
                if net_connection.status == "LISTEN"
            ]
    return ports


def nothing_left(project: Project) -> bool:
    return (
        not project_processes(project)
        and not project.runtime_dir.exists()
        and not (project.state_dir / "run.json").exists()
    )


def test_start_returns_with_every_server_running(project: Project):
    output: list[str] = []
    running = client.start_servers(project, progress=output.append)
    assert set(running.servers) == REQUIRED_SERVERS
    assert running == read_run_state(project)
    assert all(is_same_process(server) for server in [running.supervisor, *running.servers.values()])
    assert {f"{name} is ready" for name in running.servers} <= set(output)
    rows = client.list_server_status(project)
    assert rows[0].name == "supervisor"
    assert {row.state for row in rows} == {"up"}
    owners = {row.name: row.uid for row in rows}
    if os.geteuid() == 0 and running.separation == "user":
        uids = read_service_users(project).uids
        assert owners["openbao"] == uids["keys"]
        assert owners["postgres"] == uids["postgres"]
        assert owners["sftp"] == uids["vendor"]
        assert owners["witness"] == uids["witness"]
        assert owners["sequencer"] == uids["sequencer"]
        assert owners["worker"] == uids["worker"]
        assert owners["code"] == uids["code"]


def test_a_second_start_changes_nothing(project: Project):
    first = client.start_servers(project)
    assert client.start_servers(project) == first


def test_servers_that_a_killed_backup_left_paused_are_continued(project: Project):
    running = client.start_servers(project)
    pids = stop_processes(running.supervisor.pid, frozenset())
    assert {server.pid for server in running.servers.values()} <= set(pids)
    assert client.start_servers(project) == running
    assert not are_stopped(pids)


def test_servers_whose_starter_was_killed_can_be_stopped(project: Project):
    client.stop_servers(project)
    starter = UP.replace("sys.argv[1])))", "sys.argv[1])), progress=lambda line: print(line, flush=True))")
    with subprocess.Popen([sys.executable, "-c", starter, str(project.root)], stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline()
        caller.kill()
    try:
        # Waits for the startup lock, then stops the servers. A lock that is never released would block for 75 seconds.
        assert client.stop_servers(project)
        assert nothing_left(project)
    finally:
        running = read_run_state(project)
        if running is not None and is_same_process(running.supervisor):
            os.kill(running.supervisor.pid, signal.SIGTERM)
            wait_for_exit(running.supervisor, 40)


def test_two_concurrent_starts_launch_one_supervisor(project: Project):
    client.stop_servers(project)
    ups = [
        subprocess.Popen([sys.executable, "-c", UP, str(project.root)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    result = {up.communicate(timeout=90)[0].strip() for up in ups}
    running = read_run_state(project)
    assert running is not None
    assert result == {str(running.supervisor.pid)}


def test_stop_leaves_no_process_port_or_file(project: Project):
    for _ in range(3):
        running = client.start_servers(project)
        assert len(listening(running)) >= 1
        assert client.stop_servers(project)
        assert nothing_left(project)
        assert listening(running) == []
    assert not client.stop_servers(project)


@pytest.mark.long
def test_twenty_starts_and_stops_leave_nothing(project: Project):
    client.start_servers(project)
    client.stop_servers(project)
    before = sorted(
        str(path) for path in project.root.rglob("*") if "openbao/data" not in str(path) and "pg" not in str(path)
    )
    for _ in range(20):
        client.start_servers(project)
        client.stop_servers(project)
        assert nothing_left(project)
    after = sorted(
        str(path) for path in project.root.rglob("*") if "openbao/data" not in str(path) and "pg" not in str(path)
    )
    assert [path for path in after if "/postgres/data/" not in path] == [
        path for path in before if "/postgres/data/" not in path
    ]


def test_children_die_with_a_killed_supervisor_and_the_next_start_works(project: Project):
    running = client.start_servers(project)
    os.kill(running.supervisor.pid, signal.SIGKILL)
    assert wait_for_exit(running.supervisor, 5)
    for server in running.servers.values():
        assert wait_for_exit(server, 5)
    assert {row.state for row in client.list_server_status(project)} == {"dead"}
    again = client.start_servers(project)
    assert again.supervisor.pid != running.supervisor.pid
    assert {row.state for row in client.list_server_status(project)} == {"up"}


@pytest.mark.slow
def test_restart_restarts_one_server_only(project: Project):
    before = client.start_servers(project)
    again = client.restart_server(project, "sftp")
    assert wait_for_exit(before.servers["sftp"], 5)
    assert is_same_process(again)
    # The listening socket stays open across a restart, so the port stays the same.
    assert again.port == before.servers["sftp"].port
    assert sftp.is_sftp_ready(find_server_port(project, "sftp"))
    running = read_run_state(project)
    assert running is not None
    assert running.servers == {**before.servers, "sftp": again}
    # A dead server is started as well.
    os.kill(again.pid, signal.SIGKILL)
    assert wait_for_exit(again, 5)
    assert is_same_process(client.restart_server(project, "sftp"))
    assert {row.state for row in client.list_server_status(project)} == {"up"}
    with pytest.raises(NotFound, match="'sftq'") as result:
        client.restart_server(project, "sftq")
    assert result.value.fix == "did you mean 'sftp'?"


@pytest.mark.slow
def test_sections_add_servers_and_each_server_can_be_restarted(bare: Project):
    client.start_servers(bare)
    with (bare.root / "wellspring.toml").open("a") as file:
        file.write("\n[features]\n\n[models]\n")
    asking = load_project(bare.root)
    running = client.start_servers(asking)
    assert set(running.servers) == {*REQUIRED_SERVERS, "valkey", "mlflow", "api"}
    if os.geteuid() == 0 and running.separation == "user":
        owners = {row.name: row.uid for row in client.list_server_status(asking)}
        for name in ("valkey", "mlflow", "api"):
            assert owners[name] == read_service_users(asking).uid_of(name)
    # Restarting OpenBao or PostgreSQL must not break the servers that depend on them.
    for name in running.servers:
        assert client.restart_server(asking, name).pid != running.servers[name].pid, name
        assert {row.state for row in client.list_server_status(asking)} == {"up"}, name
    client.stop_servers(asking)
    assert nothing_left(bare)
    assert list(bare.state_dir.rglob("*.pem")) == []


def test_a_run_json_with_reused_pids_is_ignored(project: Project):
    running = client.start_servers(project)
    client.stop_servers(project)
    stale = running.model_dump(mode="json")
    for server in (stale["supervisor"], *stale["servers"].values()):
        # This test's own pid: the process runs, but has another start time.
        server["pid"] = os.getpid()
    (project.state_dir / "run.json").write_text(json.dumps(stale))
    assert {row.state for row in client.list_server_status(project)} == {"dead"}
    assert client.start_servers(project).supervisor.pid != os.getpid()


def test_a_server_that_fails_is_reported_with_its_log_and_the_others_are_stopped(project: Project):
    client.start_servers(project)
    client.stop_servers(project)
    config = project.state_dir / "postgres/data/postgresql.conf"
    whole = config.read_text()
    config.write_text(whole + "\nno_such_setting = on\n")
    with pytest.raises(Unavailable, match=r"(?s)postgres exited with code 1.*no_such_setting"):
        client.start_servers(project)
    assert nothing_left(project)
    config.write_text(whole)
    client.start_servers(project)


def test_starts_and_stops_are_in_the_supervisors_journal(project: Project):
    client.start_servers(project)
    client.stop_servers(project)
    lines = [
        json.loads(line) for line in next((project.journals_dir / "supervisor").glob("*.log")).read_text().splitlines()
    ]
    result = [(line["action"], line["subject"], line["phase"]) for line in lines]
    for name in ("openbao", "postgres", "sftp", "witness"):
        assert ("start", f"server:{name}", "done") in result
        assert ("stop", f"server:{name}", "done") in result


def test_clean_removes_all_that_the_servers_wrote(bare: Project):
    before = sorted(bare.root.iterdir())
    client.start_servers(bare)
    removed = client.clean_project(bare)
    assert sorted(bare.root.iterdir()) == before
    assert bare.state_dir in removed
    assert nothing_left(bare)


def test_clean_refuses_a_folder_without_a_project(bare: Project):
    (bare.root / "wellspring.toml").unlink()
    bare.state_dir.mkdir()
    with pytest.raises(Refused, match="is not a project"):
        client.clean_project(bare)
    assert bare.state_dir.exists()
    (bare.root / "wellspring.toml").touch()


def test_clean_follows_no_link_out_of_the_project(bare: Project, tmp_path: Path):
    stored = tmp_path / "kept"
    stored.touch()
    bare.state_dir.mkdir()
    bare.vendor_dir.symlink_to(tmp_path)
    with pytest.raises(Refused, match="does not lie inside"):
        client.clean_project(bare)
    assert stored.exists()
    bare.vendor_dir.unlink()


def test_a_folder_of_another_user_at_the_runtime_path_does_not_prevent_the_start(
    bare: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Without root the path is in /tmp, where any user can create it first."""
    taken = bare.runtime_dir
    taken.mkdir()
    taken.chmod(0o777)
    code = (
        "import sys\nfrom pathlib import Path\nfrom wellspring.embedded import layout\n"
        f"layout.SYSTEM_RUNTIME = Path({str(tmp_path / 'missing' / 'run')!r})\n"
        "from wellspring.supervisor import client\nsys.exit(client.main())\n"
    )
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\nshift 3\nexec {sys.executable} -P -c {shlex.quote(code)} "$@"\n')
    launcher.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setattr(client.sys, "executable", str(launcher))
        running = client.start_servers(bare)
    try:
        assert set(running.servers) == REQUIRED_SERVERS
        assert bare.runtime_dir.parent == taken.parent
        assert list(taken.iterdir()) == []
        assert {row.state for row in client.list_server_status(bare)} == {"up"}
    finally:
        client.stop_servers(bare)
        taken.rmdir()
    assert not bare.runtime_dir.exists()
