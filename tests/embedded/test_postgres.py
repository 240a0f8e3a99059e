"""PostgreSQL accepts one role with its password over one socket. Uses the real server."""

import os
import subprocess
import sys

import psutil
import psycopg
import pytest

from tests.builders import projects
from wellspring.embedded import layout, postgres
from wellspring.embedded.openbao_setup import issue_secret_id
from wellspring.embedded.packages import check_installed
from wellspring.errors import Refused, Unavailable
from wellspring.project import Project
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.run_state import read_run_state
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.service_users import ServiceUsers
from wellspring.supervisor import client
from wellspring.trust.secrets.openbao import OpenBaoSecretStore

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def project(shared_project: Project) -> Project:
    return shared_project


@pytest.fixture(scope="module")
def password(project: Project) -> str:
    with projects.login_with_credential(project, issue_secret_id(project, "enclave")) as session:
        return OpenBaoSecretStore(session).read_secret("enclave/postgres")["password"]


def connect(project: Project, user: str, password: str, database: str) -> psycopg.Connection:
    return psycopg.connect(host=str(project.socket_path("postgres")), user=user, password=password, dbname=database)


def test_the_enclave_owns_its_database(project: Project, password: str):
    with connect(project, "enclave", password, "enclave") as connection:
        row = connection.execute("select current_user, rolsuper from pg_roles where rolname = current_user").fetchone()
        assert row == ("enclave", False)
        methods = connection.execute(
            "select distinct setting from pg_settings where name = 'password_encryption'"
        ).fetchone()
        assert methods == ("scram-sha-256",)


@pytest.mark.parametrize(
    ("user", "arguments", "database"),
    [
        ("enclave", "", "enclave"),
        ("enclave", "wrong", "enclave"),
        ("enclave", None, "postgres"),
        ("postgres", "", "postgres"),
        ("postgres", None, "enclave"),
        ("root", "", "postgres"),
    ],
)
def test_nobody_else_and_nothing_else_gets_in(
    project: Project, password: str, user: str, arguments: str | None, database: str
):
    with pytest.raises(psycopg.OperationalError):
        connect(project, user, password if arguments is None else arguments, database).close()


def test_it_listens_on_no_port(project: Project):
    running = read_run_state(project)
    assert running is not None
    process = psutil.Process(running.servers["postgres"].pid)
    assert [
        net_connection for net_connection in process.net_connections("inet") if net_connection.status == "LISTEN"
    ] == []


def test_no_statement_and_no_row_is_logged(project: Project, password: str):
    person = "Ottilie-Quassel"
    with connect(project, "enclave", password, "enclave") as connection:
        connection.execute("create table members (name text primary key)")
        connection.execute("insert into members values (%s)", [person])
        connection.commit()
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("insert into members values (%s)", [person])
        connection.rollback()
        with pytest.raises(psycopg.errors.UndefinedFunction):
            connection.execute(f"select no_such_function('{person}')")
        connection.rollback()
    assert person not in (project.state_dir / "logs/postgres.log").read_text()


def test_only_the_enclave_reaches_its_socket(project: Project):
    if detect_privileges(project).separation != "user":
        pytest.skip("all services share one user here")
    path = project.socket_path("postgres") / ".s.PGSQL.5432"
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
    for service, opens in (("enclave", True), ("worker", False), ("witness", False), ("api", False), ("vendor", False)):
        result = projects.run_as(project, service, code)
        assert (result.returncode == 0) == opens, (service, result.stderr)
        assert opens or "PermissionError" in result.stderr


def test_a_lock_file_of_a_killed_server_is_removed_and_of_a_living_one_never(project: Project):
    lock = postgres.postgres_data_dir(project) / "postmaster.pid"
    stored = lock.read_text()
    with pytest.raises(Unavailable, match="still runs"):
        postgres.remove_stale_lock(project, timeout=0.2)
    assert lock.read_text() == stored
    client.stop_servers(project)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock.write_text(stored.replace(stored.split()[0], str(dead.pid), 1))
    client.start_servers(project)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give services users of their own")
@pytest.mark.parametrize("has_wrapper", [True, False])
def test_the_data_belongs_to_the_projects_own_user(has_wrapper: bool, monkeypatch: pytest.MonkeyPatch):
    if has_wrapper and postgres.find_nss_wrapper() is None:
        pytest.skip("libnss-wrapper is not installed")
    if not has_wrapper:
        monkeypatch.setattr(postgres, "NSS_WRAPPER_PATTERNS", ())
    with projects.create_project() as bare:
        bare.state_dir.mkdir()
        granted = detect_privileges(bare)._replace(users=ServiceUsers(64996))
        if granted.separation != "user":
            pytest.skip("this container maps no other users")
        layout.create_folders(bare, granted)
        setup = postgres.PostgresSetup(bare, granted, check_installed(bare).postgres)
        initdb = setup.start_initdb()
        postgres.finish_initdb(bare, setup, initdb, "a-password")
        home = bare.state_dir / "postgres"
        owners = {(path.stat().st_uid, path.stat().st_gid) for path in (home, *home.rglob("*"))}
        users = granted.users
        assert owners == {(users.uid_of("postgres"), users.gid_of("postgres"))}
        assert home.stat().st_mode & 0o077 == 0


def test_before_it_runs_it_is_not_ready():
    with projects.create_project() as bare:
        bare.state_dir.mkdir()
        assert not postgres.is_postgres_ready(find_server_socket(bare, "postgres"))


def test_a_machine_that_lets_nobody_mount_names_the_package():
    code = "import sys; sys.exit('no private passwd file: Operation not permitted')"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with projects.create_project() as bare:
        setup = postgres.PostgresSetup(bare, detect_privileges(bare), check_installed(bare).postgres)
        with pytest.raises(Refused) as error:
            postgres.finish_initdb(bare, setup, process, "a-password")
    assert "make system" in error.value.fix
