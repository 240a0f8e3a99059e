"""Behavior of every secret store (OpenBao)."""

from collections.abc import Iterator

import pytest

from tests.builders import projects
from wellspring.embedded.openbao_setup import issue_secret_id
from wellspring.errors import NotFound, Refused
from wellspring.project import Project
from wellspring.trust.identity.openbao import OpenBaoSession
from wellspring.trust.secrets.openbao import OpenBaoSecretStore
from wellspring.trust.secrets.port import SecretStore

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def project(shared_project: Project) -> Project:
    return shared_project


@pytest.fixture(scope="module")
def enclave(project: Project) -> Iterator[OpenBaoSession]:
    with projects.login_with_credential(project, issue_secret_id(project, "enclave")) as session:
        yield session


@pytest.fixture
def secrets(enclave: OpenBaoSession) -> SecretStore:
    return OpenBaoSecretStore(enclave)


def test_a_written_secret_is_read_back(secrets: SecretStore):
    secrets.write_secret("enclave/note", {"one": "1", "text": "a b\nc"})
    assert secrets.read_secret("enclave/note") == {"one": "1", "text": "a b\nc"}
    secrets.write_secret("enclave/note", {"two": "2"})
    assert secrets.read_secret("enclave/note") == {"two": "2"}


def test_the_initial_secrets_of_the_enclave_exist(secrets: SecretStore):
    assert set(secrets.read_secret("enclave/postgres")) == {"user", "password", "database"}
    assert len(bytes.fromhex(secrets.read_secret("enclave/outbox")["key"])) == 32
    assert secrets.read_secret("enclave/sftp")["private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")


def test_a_secret_that_is_not_there_is_not_found(secrets: SecretStore):
    with pytest.raises(NotFound):
        secrets.read_secret("enclave/nothing")


def test_a_path_that_is_not_granted_is_refused(secrets: SecretStore):
    with pytest.raises(Refused):
        secrets.read_secret("worker/anything")
    with pytest.raises(Refused):
        secrets.write_secret("worker/anything", {"a": "b"})


def test_the_worker_cannot_read_the_enclaves_secrets(project: Project):
    with projects.login_with_credential(project, issue_secret_id(project, "worker")) as session:
        for path in ("enclave/postgres", "enclave/sftp", "enclave/nothing"):
            with pytest.raises(Refused):
                OpenBaoSecretStore(session).read_secret(path)
