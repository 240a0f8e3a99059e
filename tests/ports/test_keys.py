"""One behaviour suite for what holds keys: OpenBao now, AWS later."""

import secrets
from collections.abc import Iterator

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.servers import houses
from wellspring.errors import Broken, Refused, Unavailable
from wellspring.project import Project
from wellspring.servers import supervisor
from wellspring.servers.control import credential
from wellspring.trust.identity.openbao import OpenBaoSession, login
from wellspring.trust.keys.openbao import OpenBaoKeys, OpenBaoSigner
from wellspring.trust.keys.port import Keys, Signer

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def here() -> Iterator[Project]:
    with houses.house() as project:
        yield project


@pytest.fixture(scope="module")
def enclave(here: Project) -> Iterator[OpenBaoSession]:
    with login(here.socket("openbao"), **credential(here, "enclave")) as session:
        yield session


@pytest.fixture(scope="module")
def worker(here: Project) -> Iterator[OpenBaoSession]:
    with login(here.socket("openbao"), **credential(here, "worker")) as session:
        yield session


@pytest.fixture
def keys(enclave: OpenBaoSession) -> Keys:
    return OpenBaoKeys(enclave)


@pytest.fixture
def signer(worker: OpenBaoSession) -> Signer:
    return OpenBaoSigner(worker)


def test_a_data_key_is_256_bits_new_each_time_and_unwraps_to_itself(keys: Keys):
    one, two = keys.data_key("originals"), keys.data_key("originals")
    assert len(one.plain) == 32
    assert one.plain != two.plain
    assert keys.unwrap("originals", one.wrapped) == one.plain


def test_a_wrapped_key_opens_only_under_the_key_that_wrapped_it(keys: Keys):
    with pytest.raises(Broken):
        keys.unwrap("tokens", keys.data_key("originals").wrapped)


def test_a_changed_wrapped_key_is_broken(keys: Keys):
    wrapped = keys.data_key("originals").wrapped
    changed = wrapped[:-6] + ("A" if wrapped[-6] != "A" else "B") + wrapped[-5:]
    with pytest.raises(Broken):
        keys.unwrap("originals", changed)


def test_a_key_that_is_not_granted_is_refused(keys: Keys):
    for ask in (lambda: keys.data_key("ledger"), lambda: keys.unwrap("ledger", "vault:v1:AAAA")):
        with pytest.raises(Refused):
            ask()


def test_a_signature_is_plain_ed25519_of_the_message(signer: Signer):
    public = Ed25519PublicKey.from_public_bytes(signer.public_key())
    message = secrets.token_bytes(300)
    signature = signer.sign(message)
    assert len(signature) == 64
    public.verify(signature, message)
    with pytest.raises(InvalidSignature):
        public.verify(signature, message + b"!")


def test_who_may_use_data_keys_may_not_sign_for_the_log(enclave: OpenBaoSession):
    for ask in (OpenBaoSigner(enclave).public_key, lambda: OpenBaoSigner(enclave).sign(b"x")):
        with pytest.raises(Refused):
            ask()


@pytest.mark.parametrize("name", ["originals", "quarantine", "tokens"])
def test_who_signs_for_the_log_gets_no_data_key(worker: OpenBaoSession, keys: Keys, name: str):
    wrapped = keys.data_key(name).wrapped
    with pytest.raises(Refused):
        OpenBaoKeys(worker).data_key(name)
    with pytest.raises(Refused):
        OpenBaoKeys(worker).unwrap(name, wrapped)


def test_a_server_that_is_down_is_unavailable(here: Project):
    session = login(here.socket("openbao"), **credential(here, "enclave"))
    supervisor.down(here)
    try:
        with pytest.raises(Unavailable):
            OpenBaoKeys(session).data_key("originals")
    finally:
        session.close()
        supervisor.up(here)
