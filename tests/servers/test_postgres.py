"""The enclave's database lets in one role, with its password, over one socket: on the real server."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import psycopg
import pytest

from tests.servers import houses
from wellspring.errors import Unavailable
from wellspring.project import Project
from wellspring.servers import postgres, supervisor
from wellspring.servers.control import credential
from wellspring.servers.privileges import survey
from wellspring.trust.identity.openbao import login
from wellspring.trust.secrets.openbao import OpenBaoSecrets

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def here() -> Iterator[Project]:
    with houses.house() as project:
        yield project


@pytest.fixture(scope="module")
def password(here: Project) -> str:
    with login(here.socket("openbao"), **credential(here, "enclave")) as session:
        return OpenBaoSecrets(session).read("enclave/postgres")["password"]


def connect(here: Project, user: str, password: str, database: str) -> psycopg.Connection:
    return psycopg.connect(host=str(here.socket("postgres")), user=user, password=password, dbname=database)


def test_the_enclave_owns_its_database(here: Project, password: str):
    with connect(here, "enclave", password, "enclave") as open_one:
        row = open_one.execute("select current_user, rolsuper from pg_roles where rolname = current_user").fetchone()
        assert row == ("enclave", False)
        methods = open_one.execute(
            "select distinct setting from pg_settings where name = 'password_encryption'"
        ).fetchone()
        assert methods == ("scram-sha-256",)


@pytest.mark.parametrize(
    ("user", "given", "database"),
    [
        ("enclave", "", "enclave"),
        ("enclave", "wrong", "enclave"),
        ("enclave", None, "postgres"),
        ("house", "", "postgres"),
        ("house", None, "enclave"),
        ("postgres", "", "postgres"),
    ],
)
def test_nobody_else_and_nothing_else_gets_in(
    here: Project, password: str, user: str, given: str | None, database: str
):
    with pytest.raises(psycopg.OperationalError):
        connect(here, user, password if given is None else given, database).close()


def test_it_listens_on_no_port(here: Project):
    running = here.running()
    assert running is not None
    process = psutil.Process(running.servers["postgres"].pid)
    assert [each for each in process.net_connections("inet") if each.status == "LISTEN"] == []


def test_no_statement_and_no_row_is_logged(here: Project, password: str):
    person = "Ottilie-Quassel"
    with connect(here, "enclave", password, "enclave") as open_one:
        open_one.execute("create table people (name text primary key)")
        open_one.execute("insert into people values (%s)", [person])
        open_one.commit()
        with pytest.raises(psycopg.errors.UniqueViolation):
            open_one.execute("insert into people values (%s)", [person])
        open_one.rollback()
        with pytest.raises(psycopg.errors.UndefinedFunction):
            open_one.execute(f"select no_such_function('{person}')")
        open_one.rollback()
    assert person not in (here.state / "logs/postgres.log").read_text()


def test_only_the_enclave_reaches_its_socket(here: Project):
    if survey(here).separation != "user":
        pytest.skip("all services share one user here")
    path = here.socket("postgres") / ".s.PGSQL.5432"
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
    for service, opens in (("enclave", True), ("worker", False), ("witness", False), ("api", False), ("vendor", False)):
        told = houses.run_as(here, service, code)
        assert (told.returncode == 0) == opens, (service, told.stderr)
        assert opens or "PermissionError" in told.stderr


def test_a_lock_file_of_a_killed_server_is_removed_and_of_a_living_one_never(here: Project):
    lock = postgres.data(here) / "postmaster.pid"
    kept = lock.read_text()
    with pytest.raises(Unavailable, match="still runs"):
        postgres.clear(here, seconds=0.2)
    assert lock.read_text() == kept
    supervisor.down(here)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock.write_text(kept.replace(kept.split()[0], str(dead.pid), 1))
    supervisor.up(here)


def test_before_it_runs_it_is_not_ready():
    with houses.project() as bare:
        bare.state.mkdir()
        from wellspring.servers.packages import check

        assert not postgres.is_ready(bare, check(bare).postgres)
