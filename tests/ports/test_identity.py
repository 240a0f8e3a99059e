"""One behaviour suite for logins: who is told, and for how long."""

import threading
from collections.abc import Iterator

import pytest

from tests.builders import projects
from wellspring.embedded.control_socket import request_credential
from wellspring.errors import Refused, Unavailable
from wellspring.project import Project
from wellspring.trust.identity.openbao import OpenBaoSession, login_service, map_errors, open_client
from wellspring.trust.identity.port import Principal, Role

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def here() -> Iterator[Project]:
    with projects.house() as project:
        yield project


@pytest.mark.parametrize("role", ["worker", "enclave"])
def test_a_login_is_told_who_it_is(here: Project, role: Role):
    with login_service(here.socket_path("openbao"), **request_credential(here, role)) as session:
        assert session.principal == Principal(f"service:{role}")


def test_closing_a_login_revokes_it(here: Project):
    session = login_service(here.socket_path("openbao"), **request_credential(here, "worker"))
    token = session.client.token
    session.close()
    session.close()
    late = open_client(here.socket_path("openbao"), token)
    with pytest.raises(Refused), map_errors("look itself up"):
        late.auth.token.lookup_self()
    late.adapter.close()


def test_a_login_renews_itself(here: Project):
    first = login_service(here.socket_path("openbao"), **request_credential(here, "worker"))
    with map_errors("look itself up"):
        before = first.client.auth.token.lookup_self()["data"]
    # Another session of the same login, which believes that it has a second left.
    short = OpenBaoSession(here.socket_path("openbao"), first.client.token, first.principal, period=1.0)
    pause = threading.Event()
    for _ in range(100):
        with map_errors("look itself up"):
            now = first.client.auth.token.lookup_self()["data"]
        if now.get("last_renewal_time", 0) > (before.get("last_renewal_time") or 0):
            break
        pause.wait(0.05)
    else:
        pytest.fail("it was not renewed within five seconds")
    short.close()
    first.close()


def test_no_token_is_taken_from_the_environment(here: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VAULT_TOKEN", "s.somebodyelses")
    client = open_client(here.socket_path("openbao"))
    assert not client.token
    client.adapter.close()


def test_a_made_up_wrapping_is_refused(here: Project):
    born_with = request_credential(here, "worker")
    with pytest.raises(Refused):
        login_service(here.socket_path("openbao"), role_id=born_with["role_id"], wrapped_secret_id="s.madeup")


def test_no_server_is_unavailable(here: Project):
    with pytest.raises(Unavailable):
        login_service(here.runtime_dir / "nobody.sock", role_id="x", wrapped_secret_id="y")
