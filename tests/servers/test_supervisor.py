"""Up, status, down, clean: on the real servers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.servers import houses
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.project import Project, Running, load
from wellspring.servers import sftp, supervisor
from wellspring.servers.children import lives, wait_gone
from wellspring.servers.privileges import UIDS

pytestmark = pytest.mark.live
NEVER_OPTIONAL = {"openbao", "postgres", "sftp", "witness", "enclave"}
UP = """
import sys
from pathlib import Path
from wellspring.project import load
from wellspring.servers import sftp, supervisor
print(supervisor.up(load(Path(sys.argv[1]))).supervisor.pid)
"""


@pytest.fixture(scope="module")
def here() -> Iterator[Project]:
    """One project for all tests of this file: its keys are made once, and each test starts and stops as it likes."""
    with houses.project() as project:
        yield project


@pytest.fixture
def bare() -> Iterator[Project]:
    """A project that was never up."""
    with houses.project() as project:
        yield project


def of_project(project: Project) -> list[str]:
    """List the living processes that work for a project: its folders stand in their command lines."""
    found: list[str] = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        ours = str(project.root) in line or str(project.runtime) in line
        if ours and process.pid != os.getpid() and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


def listening(running: Running) -> list[int]:
    """List the loopback ports of a project's processes."""
    ports: list[int] = []
    for server in running.servers.values():
        if psutil.pid_exists(server.pid):
            ports += [
                each.laddr.port for each in psutil.Process(server.pid).net_connections() if each.status == "LISTEN"
            ]
    return ports


def nothing_left(project: Project) -> bool:
    return not of_project(project) and not project.runtime.exists() and not (project.state / "run.json").exists()


def test_up_returns_with_every_server_running_and_says_where(here: Project):
    said: list[str] = []
    running = supervisor.up(here, progress=said.append)
    assert set(running.servers) == NEVER_OPTIONAL
    assert running == here.running()
    assert all(lives(server) for server in [running.supervisor, *running.servers.values()])
    assert {f"{name} is ready" for name in running.servers} <= set(said)
    rows = supervisor.status(here)
    assert rows[0].name == "supervisor"
    assert {row.state for row in rows} == {"up"}
    owners = {row.name: row.uid for row in rows}
    if os.geteuid() == 0 and running.separation == "user":
        assert owners["openbao"] == UIDS["keys"]
        assert owners["postgres"] == UIDS["postgres"]
        assert owners["sftp"] == UIDS["vendor"]
        assert owners["witness"] == UIDS["witness"]


def test_a_second_up_changes_nothing(here: Project):
    first = supervisor.up(here)
    assert supervisor.up(here) == first


def test_an_up_whose_caller_goes_away_leaves_servers_that_can_be_stopped(here: Project):
    supervisor.down(here)
    telling = UP.replace("sys.argv[1])))", "sys.argv[1])), progress=lambda line: print(line, flush=True))")
    with subprocess.Popen([sys.executable, "-c", telling, str(here.root)], stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline()
        caller.kill()
    try:
        # Waits until it is up, then stops it: a lock that its supervisor never let go would hold this for 75 seconds.
        assert supervisor.down(here)
        assert nothing_left(here)
    finally:
        running = here.running()
        if running is not None and lives(running.supervisor):
            os.kill(running.supervisor.pid, signal.SIGTERM)
            wait_gone(running.supervisor, 40)


def test_two_ups_at_once_start_one_supervisor(here: Project):
    supervisor.down(here)
    ups = [
        subprocess.Popen([sys.executable, "-c", UP, str(here.root)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = {up.communicate(timeout=90)[0].strip() for up in ups}
    running = here.running()
    assert running is not None
    assert told == {str(running.supervisor.pid)}


def test_down_leaves_no_process_port_or_file(here: Project):
    for _ in range(3):
        running = supervisor.up(here)
        assert len(listening(running)) >= 1
        assert supervisor.down(here)
        assert nothing_left(here)
        assert listening(running) == []
    assert not supervisor.down(here)


@pytest.mark.long
def test_twenty_times_up_and_down_leave_nothing(here: Project):
    supervisor.up(here)
    supervisor.down(here)
    before = sorted(
        str(path) for path in here.root.rglob("*") if "openbao/data" not in str(path) and "pg" not in str(path)
    )
    for _ in range(20):
        supervisor.up(here)
        supervisor.down(here)
        assert nothing_left(here)
    after = sorted(
        str(path) for path in here.root.rglob("*") if "openbao/data" not in str(path) and "pg" not in str(path)
    )
    assert [path for path in after if "/postgres/data/" not in path] == [
        path for path in before if "/postgres/data/" not in path
    ]


def test_a_killed_supervisor_takes_its_children_along_and_the_next_up_works(here: Project):
    running = supervisor.up(here)
    os.kill(running.supervisor.pid, signal.SIGKILL)
    assert wait_gone(running.supervisor, 5)
    for server in running.servers.values():
        assert wait_gone(server, 5)
    assert {row.state for row in supervisor.status(here)} == {"dead"}
    again = supervisor.up(here)
    assert again.supervisor.pid != running.supervisor.pid
    assert {row.state for row in supervisor.status(here)} == {"up"}


def test_a_server_that_ended_by_itself_is_told_and_started_again_by_up(here: Project):
    running = supervisor.up(here)
    os.kill(running.servers["witness"].pid, signal.SIGKILL)
    assert wait_gone(running.servers["witness"], 5)
    assert {row.name: row.state for row in supervisor.status(here)}["witness"] == "dead"
    supervisor.up(here)
    assert {row.state for row in supervisor.status(here)} == {"up"}


@pytest.mark.slow
def test_one_server_is_started_again_and_the_others_stay(here: Project):
    before = supervisor.up(here)
    again = supervisor.restart(here, "sftp")
    assert wait_gone(before.servers["sftp"], 5)
    assert lives(again)
    # What serves it was taken once: whoever knew its port still finds it there.
    assert again.port == before.servers["sftp"].port
    assert sftp.is_ready(here.port("sftp"))
    running = here.running()
    assert running is not None
    assert running.servers == {**before.servers, "sftp": again}
    # Found dead, it is started as well.
    os.kill(again.pid, signal.SIGKILL)
    assert wait_gone(again, 5)
    assert lives(supervisor.restart(here, "sftp"))
    assert {row.state for row in supervisor.status(here)} == {"up"}
    with pytest.raises(NotFound, match="'sftq'") as told:
        supervisor.restart(here, "sftq")
    assert told.value.fix == "did you mean 'sftp'?"


@pytest.mark.slow
def test_sections_start_more_servers_and_each_server_can_be_started_again(bare: Project):
    supervisor.up(bare)
    with (bare.root / "wellspring.toml").open("a") as file:
        file.write("\n[features]\n\n[models]\n")
    asking = load(bare.root)
    running = supervisor.up(asking)
    assert set(running.servers) == {*NEVER_OPTIONAL, "valkey", "mlflow", "api"}
    if os.geteuid() == 0 and running.separation == "user":
        owners = {row.name: row.uid for row in supervisor.status(asking)}
        for name in ("valkey", "mlflow", "api"):
            assert owners[name] == UIDS[name]
    # The key server is what some hold a login of, others a door of.
    for name in running.servers:
        assert supervisor.restart(asking, name).pid != running.servers[name].pid, name
        assert {row.state for row in supervisor.status(asking)} == {"up"}, name
    supervisor.down(asking)
    assert nothing_left(bare)
    assert list(bare.state.rglob("*.pem")) == []


def test_a_run_json_whose_pids_belong_to_others_is_not_believed(here: Project):
    running = supervisor.up(here)
    supervisor.down(here)
    stale = running.model_dump(mode="json")
    for server in (stale["supervisor"], *stale["servers"].values()):
        # This test's own pid, which lives, but was started at another time.
        server["pid"] = os.getpid()
    (here.state / "run.json").write_text(json.dumps(stale))
    assert {row.state for row in supervisor.status(here)} == {"dead"}
    assert supervisor.up(here).supervisor.pid != os.getpid()


def test_a_server_that_fails_is_named_with_its_last_lines_and_the_rest_is_stopped(here: Project):
    supervisor.up(here)
    supervisor.down(here)
    config = here.state / "postgres/data/postgresql.conf"
    whole = config.read_text()
    config.write_text(whole + "\nno_such_setting = on\n")
    with pytest.raises(Unavailable, match=r"(?s)postgres ended with exit code 1.*no_such_setting"):
        supervisor.up(here)
    assert nothing_left(here)
    config.write_text(whole)
    supervisor.up(here)


def test_starts_and_stops_stand_in_the_supervisors_journal(here: Project):
    supervisor.up(here)
    supervisor.down(here)
    lines = [json.loads(line) for line in next((here.journals / "supervisor").glob("*.log")).read_text().splitlines()]
    told = [(line["action"], line["subject"], line["phase"]) for line in lines]
    for name in ("openbao", "postgres", "sftp", "witness"):
        assert ("start", f"server:{name}", "done") in told
        assert ("stop", f"server:{name}", "done") in told


def test_clean_removes_all_that_the_servers_wrote(bare: Project):
    before = sorted(bare.root.iterdir())
    supervisor.up(bare)
    removed = supervisor.clean(bare)
    assert sorted(bare.root.iterdir()) == before
    assert bare.state in removed
    assert nothing_left(bare)


def test_clean_refuses_a_folder_that_is_no_project(bare: Project):
    (bare.root / "wellspring.toml").unlink()
    bare.state.mkdir()
    with pytest.raises(Refused, match="no project"):
        supervisor.clean(bare)
    assert bare.state.exists()
    (bare.root / "wellspring.toml").touch()


def test_clean_follows_no_link_out_of_the_project(bare: Project, tmp_path: Path):
    kept = tmp_path / "kept"
    kept.touch()
    bare.state.mkdir()
    bare.vendor.symlink_to(tmp_path)
    with pytest.raises(Refused, match="does not lie inside"):
        supervisor.clean(bare)
    assert kept.exists()
    bare.vendor.unlink()


def test_a_runtime_folder_of_somebody_else_is_refused(bare: Project, tmp_path: Path):
    bare.runtime.symlink_to(tmp_path)
    try:
        with pytest.raises(Refused, match="made by somebody else"):
            supervisor.up(bare)
    finally:
        bare.runtime.unlink()
