"""Token keys of the enclave; test_service.py tests originals and quarantined rows."""

from __future__ import annotations

import pytest

from tests.builders.enclave import ProjectFixture
from tests.builders.memory_keys import Keyring
from tests.builders.originals import contract
from tests.builders.vault_records import stored
from wellspring.enclave.decryption import Decryptor
from wellspring.errors import NotFound, Refused
from wellspring.records.contracts import ContractColumn

pytestmark = pytest.mark.live


def column(name: str, domain: str) -> ContractColumn:
    return ContractColumn(name=name, type="string", egress="token", domain=domain, classification="identifier")


def test_a_domain_gets_one_key_for_ever(project: ProjectFixture) -> None:
    keys = Keyring(project.root_key)
    signed = contract(columns=(column("x", "claim"), column("y", "claim"), column("z", "member")))
    with project.open_enclave():
        opener = Decryptor(project.store, keys, folder=project.folder)
        first = opener.tokenizer_for(signed).tokenize_value("claim", "A")
        wrapped = project.store.list_token_keys()
        assert sorted(wrapped) == ["claim", "member"]
        assert opener.tokenizer_for(signed).tokenize_value("claim", "A") == first
        assert project.store.list_token_keys() == wrapped
        assert opener.tokenizer_for(signed).tokenize_value("member", "A").split("_")[-1] != first.split("_")[-1]


def test_a_drop_of_another_tenant_has_other_tokens(project: ProjectFixture) -> None:
    signed = contract(columns=(column("x", "claim"),))
    with project.open_enclave():
        opener = Decryptor(project.store, Keyring(project.root_key), folder=project.folder)
        tokens = [
            opener.tokenizer_for(signed, tenant=tenant).tokenize_value("claim", "A")
            for tenant in ("", "north", "south")
        ]
        assert len(set(tokens)) == 3


def test_a_domain_that_the_contract_does_not_name_is_not_opened(project: ProjectFixture) -> None:
    with project.open_enclave():
        opener = Decryptor(project.store, Keyring(project.root_key), folder=project.folder)
        opener.tokenizer_for(contract(columns=(column("x", "claim"),)))
        with pytest.raises(NotFound):
            opener.tokenizer_for(contract(columns=(column("x", "member"),))).tokenize_value("claim", "A")


def test_another_key_server_opens_nothing(project: ProjectFixture) -> None:
    signed = contract(columns=(column("x", "claim"),))
    with project.open_enclave():
        Decryptor(project.store, Keyring(project.root_key), folder=project.folder).tokenizer_for(signed)
        with pytest.raises(Refused):
            Decryptor(project.store, Keyring(), folder=project.folder).tokenizer_for(signed)


def test_an_original_without_its_key_is_gone(project: ProjectFixture) -> None:
    with project.open_enclave():
        opener = Decryptor(project.store, Keyring(project.root_key), folder=project.folder)
        with pytest.raises(NotFound, match="retention ended"):
            opener.open_original(stored()._replace(wrapped_key=None))


def test_the_key_of_file_names_is_created_once_and_is_not_a_token_domain(project: ProjectFixture) -> None:
    with project.open_enclave():
        opener = Decryptor(project.store, Keyring(project.root_key), folder=project.folder)
        key = opener.name_key()
        assert Decryptor(project.store, Keyring(project.root_key), folder=project.folder).name_key() == key
        with pytest.raises(NotFound):
            opener.tokenizer_for(contract(columns=(column("x", "claim"),))).tokenize_value("(file names)", "A")
