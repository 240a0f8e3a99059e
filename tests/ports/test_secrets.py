"""Behavior of every secret store (OpenBao)."""

from collections.abc import Iterator

import pytest

from tests.builders import projects
from wellspring.embedded.control_socket import request_credential
from wellspring.errors import NotFound, Refused
from wellspring.project import Project
from wellspring.trust.identity.openbao import OpenBaoSession
from wellspring.trust.secrets.openbao import OpenBaoSecretStore
from wellspring.trust.secrets.port import SecretStore

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def project_value() -> Iterator[Project]:
    with projects.running_project() as project:
        yield project


@pytest.fixture(scope="module")
def enclave(project_value: Project) -> Iterator[OpenBaoSession]:
    with projects.login_with_credential(project_value, request_credential(project_value, "enclave")) as session:
        yield session


@pytest.fixture
def stored(enclave: OpenBaoSession) -> SecretStore:
    return OpenBaoSecretStore(enclave)


def test_a_written_secret_is_read_back(stored: SecretStore):
    stored.write_secret("enclave/note", {"one": "1", "text": "a b\nc"})
    assert stored.read_secret("enclave/note") == {"one": "1", "text": "a b\nc"}
    stored.write_secret("enclave/note", {"two": "2"})
    assert stored.read_secret("enclave/note") == {"two": "2"}


def test_the_initial_secrets_of_the_enclave_exist(stored: SecretStore):
    assert set(stored.read_secret("enclave/postgres")) == {"user", "password", "database"}
    assert stored.read_secret("enclave/sftp")["private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")


def test_a_secret_that_is_not_there_is_not_found(stored: SecretStore):
    with pytest.raises(NotFound):
        stored.read_secret("enclave/nothing")


def test_a_path_that_is_not_granted_is_refused(stored: SecretStore):
    with pytest.raises(Refused):
        stored.read_secret("worker/anything")
    with pytest.raises(Refused):
        stored.write_secret("worker/anything", {"a": "b"})


def test_the_worker_cannot_read_the_enclaves_secrets(project_value: Project):
    with projects.login_with_credential(project_value, request_credential(project_value, "worker")) as session:
        for path in ("enclave/postgres", "enclave/sftp", "enclave/nothing"):
            with pytest.raises(Refused):
                OpenBaoSecretStore(session).read_secret(path)
