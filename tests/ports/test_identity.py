"""Behavior of every identity service: roles of logins and their lifetime."""

import threading

import pytest

from tests.builders import projects
from tests.builders.sockets import own_server
from wellspring.embedded.openbao_setup import issue_secret_id
from wellspring.errors import Refused, Unavailable
from wellspring.project import Project
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.trust.identity.openbao import OpenBaoSession, login_service, map_errors, open_client
from wellspring.trust.identity.port import Principal, Role

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def project(shared_project: Project) -> Project:
    return shared_project


@pytest.mark.parametrize("role", ["worker", "enclave"])
def test_a_login_returns_its_role(project: Project, role: Role):
    with projects.login_with_credential(project, issue_secret_id(project, role)) as session:
        assert session.principal == Principal(f"service:{role}")


def test_closing_a_login_revokes_it(project: Project):
    session = projects.login_with_credential(project, issue_secret_id(project, "worker"))
    token = session.client.token
    session.close()
    session.close()
    late = open_client(find_server_socket(project, "openbao"), token)
    with pytest.raises(Refused), map_errors("look itself up"):
        late.auth.token.lookup_self()
    late.adapter.close()


def test_a_login_renews_itself(project: Project):
    first = projects.login_with_credential(project, issue_secret_id(project, "worker"))
    with map_errors("look itself up"):
        before = first.client.auth.token.lookup_self()["data"]
    # Another session of the same login, which believes that it has a second left.
    short = OpenBaoSession(find_server_socket(project, "openbao"), first.client.token, first.principal, period=1.0)
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


def test_a_login_that_is_no_longer_accepted_is_reported_once(project: Project):
    first = projects.login_with_credential(project, issue_secret_id(project, "worker"))
    lost = threading.Event()
    short = OpenBaoSession(
        find_server_socket(project, "openbao"), first.client.token, first.principal, period=0.3, on_lost=lost.set
    )
    assert not lost.wait(0.5), "it is renewed as long as OpenBao accepts it"
    first.close()
    assert lost.wait(5)
    short.close()


def test_no_token_is_taken_from_the_environment(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VAULT_TOKEN", "s.somebodyelses")
    client = open_client(find_server_socket(project, "openbao"))
    assert not client.token
    client.adapter.close()


def test_a_made_up_wrapping_is_refused(project: Project):
    born_with = issue_secret_id(project, "worker")
    with pytest.raises(Refused):
        login_service(
            find_server_socket(project, "openbao"), role_id=born_with["role_id"], wrapped_secret_id="s.madeup"
        )


def test_no_server_is_unavailable(project: Project):
    with pytest.raises(Unavailable):
        login_service(own_server(project.runtime_dir / "nobody.sock"), role_id="x", wrapped_secret_id="y")
