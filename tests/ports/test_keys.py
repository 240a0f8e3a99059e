"""Behavior of every key service (OpenBao)."""

import secrets
from collections.abc import Iterator

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.builders import projects
from wellspring.embedded.openbao_setup import issue_secret_id
from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.project import Project
from wellspring.supervisor import client
from wellspring.trust.identity.openbao import OpenBaoSession
from wellspring.trust.keys.openbao import OpenBaoDataKeys, OpenBaoSigner
from wellspring.trust.keys.port import DataKeys, LogSigner

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def project(shared_project: Project) -> Project:
    return shared_project


@pytest.fixture(scope="module")
def enclave(project: Project) -> Iterator[OpenBaoSession]:
    with projects.login_with_credential(project, issue_secret_id(project, "enclave")) as session:
        yield session


@pytest.fixture(scope="module")
def sequencer(project: Project) -> Iterator[OpenBaoSession]:
    with projects.login_with_credential(project, issue_secret_id(project, "sequencer")) as session:
        yield session


@pytest.fixture
def keys(enclave: OpenBaoSession) -> DataKeys:
    return OpenBaoDataKeys(enclave)


@pytest.fixture
def signer(sequencer: OpenBaoSession) -> LogSigner:
    return OpenBaoSigner(sequencer)


def test_a_data_key_is_256_bits_new_each_time_and_unwraps_to_itself(keys: DataKeys):
    first, second = keys.generate_data_key("originals"), keys.generate_data_key("originals")
    assert len(first.plaintext) == 32
    assert first.plaintext != second.plaintext
    assert first.version == 1
    assert keys.unwrap_key("originals", first.wrapped) == first.plaintext


def test_a_wrapped_key_unwraps_only_with_its_wrapping_key(keys: DataKeys):
    with pytest.raises(CorruptedError):
        keys.unwrap_key("tokens", keys.generate_data_key("originals").wrapped)


def test_a_changed_wrapped_key_is_corrupted(keys: DataKeys):
    wrapped = keys.generate_data_key("originals").wrapped
    changed = wrapped[:-6] + ("A" if wrapped[-6] != "A" else "B") + wrapped[-5:]
    with pytest.raises(CorruptedError):
        keys.unwrap_key("originals", changed)


def test_a_key_that_is_not_granted_is_refused(keys: DataKeys):
    for ask in (lambda: keys.generate_data_key("ledger"), lambda: keys.unwrap_key("ledger", "vault:v1:AAAA")):
        with pytest.raises(Refused):
            ask()


def test_a_signature_is_plain_ed25519_of_the_message(signer: LogSigner):
    public = Ed25519PublicKey.from_public_bytes(signer.public_key())
    message = secrets.token_bytes(300)
    signature = signer.sign(message)
    assert len(signature) == 64
    public.verify(signature, message)
    with pytest.raises(InvalidSignature):
        public.verify(signature, message + b"!")


def test_a_data_key_role_cannot_sign_for_the_log(enclave: OpenBaoSession):
    for ask in (OpenBaoSigner(enclave).public_key, lambda: OpenBaoSigner(enclave).sign(b"x")):
        with pytest.raises(Refused):
            ask()


@pytest.mark.parametrize("name", ["originals", "quarantine", "tokens", "people"])
def test_a_log_signer_cannot_get_a_data_key(sequencer: OpenBaoSession, keys: DataKeys, name: str):
    wrapped = keys.generate_data_key(name).wrapped
    with pytest.raises(Refused):
        OpenBaoDataKeys(sequencer).generate_data_key(name)
    with pytest.raises(Refused):
        OpenBaoDataKeys(sequencer).unwrap_key(name, wrapped)


def test_a_server_that_is_down_is_unavailable(project: Project):
    session = projects.login_with_credential(project, issue_secret_id(project, "enclave"))
    client.stop_servers(project)
    try:
        with pytest.raises(Unavailable):
            OpenBaoDataKeys(session).generate_data_key("originals")
    finally:
        session.close()
        client.start_servers(project)
