"""One behaviour suite for what holds secrets: OpenBao now, AWS later."""

from collections.abc import Iterator

import pytest

from tests.builders import projects
from wellspring.embedded.control_socket import request_credential
from wellspring.errors import NotFound, Refused
from wellspring.project import Project
from wellspring.trust.identity.openbao import OpenBaoSession, login_service
from wellspring.trust.secrets.openbao import OpenBaoSecretStore
from wellspring.trust.secrets.port import SecretStore

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def here() -> Iterator[Project]:
    with projects.house() as project:
        yield project


@pytest.fixture(scope="module")
def enclave(here: Project) -> Iterator[OpenBaoSession]:
    with login_service(here.socket_path("openbao"), **request_credential(here, "enclave")) as session:
        yield session


@pytest.fixture
def kept(enclave: OpenBaoSession) -> SecretStore:
    return OpenBaoSecretStore(enclave)


def test_what_is_written_is_read(kept: SecretStore):
    kept.write_secret("enclave/note", {"one": "1", "text": "a b\nc"})
    assert kept.read_secret("enclave/note") == {"one": "1", "text": "a b\nc"}
    kept.write_secret("enclave/note", {"two": "2"})
    assert kept.read_secret("enclave/note") == {"two": "2"}


def test_what_the_enclave_is_born_with_is_there(kept: SecretStore):
    assert set(kept.read_secret("enclave/postgres")) == {"user", "password", "database"}
    assert kept.read_secret("enclave/sftp")["private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")


def test_a_secret_that_is_not_there_is_not_found(kept: SecretStore):
    with pytest.raises(NotFound):
        kept.read_secret("enclave/nothing")


def test_a_path_that_is_not_granted_is_refused(kept: SecretStore):
    with pytest.raises(Refused):
        kept.read_secret("worker/anything")
    with pytest.raises(Refused):
        kept.write_secret("worker/anything", {"a": "b"})


def test_the_worker_reads_none_of_the_enclaves_secrets(here: Project):
    with login_service(here.socket_path("openbao"), **request_credential(here, "worker")) as session:
        for path in ("enclave/postgres", "enclave/sftp", "enclave/nothing"):
            with pytest.raises(Refused):
                OpenBaoSecretStore(session).read_secret(path)
