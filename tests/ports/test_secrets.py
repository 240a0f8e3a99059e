"""One behaviour suite for what holds secrets: OpenBao now, AWS later."""

from collections.abc import Iterator

import pytest

from tests.servers import houses
from wellspring.errors import NotFound, Refused
from wellspring.project import Project
from wellspring.servers.control import credential
from wellspring.trust.identity.openbao import OpenBaoSession, login
from wellspring.trust.secrets.openbao import OpenBaoSecrets
from wellspring.trust.secrets.port import Secrets

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def here() -> Iterator[Project]:
    with houses.house() as project:
        yield project


@pytest.fixture(scope="module")
def enclave(here: Project) -> Iterator[OpenBaoSession]:
    with login(here.socket("openbao"), **credential(here, "enclave")) as session:
        yield session


@pytest.fixture
def kept(enclave: OpenBaoSession) -> Secrets:
    return OpenBaoSecrets(enclave)


def test_what_is_written_is_read(kept: Secrets):
    kept.write("enclave/note", {"one": "1", "text": "a b\nc"})
    assert kept.read("enclave/note") == {"one": "1", "text": "a b\nc"}
    kept.write("enclave/note", {"two": "2"})
    assert kept.read("enclave/note") == {"two": "2"}


def test_what_the_enclave_is_born_with_is_there(kept: Secrets):
    assert set(kept.read("enclave/postgres")) == {"user", "password", "database"}
    assert kept.read("enclave/sftp")["private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")


def test_a_secret_that_is_not_there_is_not_found(kept: Secrets):
    with pytest.raises(NotFound):
        kept.read("enclave/nothing")


def test_a_path_that_is_not_granted_is_refused(kept: Secrets):
    with pytest.raises(Refused):
        kept.read("worker/anything")
    with pytest.raises(Refused):
        kept.write("worker/anything", {"a": "b"})


def test_the_worker_reads_none_of_the_enclaves_secrets(here: Project):
    with login(here.socket("openbao"), **credential(here, "worker")) as session:
        for path in ("enclave/postgres", "enclave/sftp", "enclave/nothing"):
            with pytest.raises(Refused):
                OpenBaoSecrets(session).read(path)
