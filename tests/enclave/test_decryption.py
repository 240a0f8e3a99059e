"""What is locked opens for one act: originals and rows are tested in test_service.py, the keys of tokens here."""

from __future__ import annotations

import pytest

from tests.builders.enclave import House
from tests.builders.memory_keys import Keyring
from tests.data.intake.test_originals import contract
from tests.trust.vault.test_postgres import kept
from wellspring.enclave.decryption import Decryptor
from wellspring.errors import NotFound, Refused
from wellspring.records.data import ContractColumn

pytestmark = pytest.mark.live


def column(name: str, domain: str) -> ContractColumn:
    return ContractColumn(name=name, type="string", egress="token", domain=domain, classification="identifier")


def test_a_domain_gets_one_key_for_ever(house: House) -> None:
    keys = Keyring(house.root_key)
    promised = contract(columns=(column("x", "claim"), column("y", "claim"), column("z", "member")))
    with house.opened():
        opener = Decryptor(house.store, keys, folder=house.folder)
        first = opener.tokenizer_for(promised).tokenize_value("claim", "A")
        wrapped = house.store.list_token_keys()
        assert sorted(wrapped) == ["claim", "member"]
        assert opener.tokenizer_for(promised).tokenize_value("claim", "A") == first
        assert house.store.list_token_keys() == wrapped
        assert opener.tokenizer_for(promised).tokenize_value("member", "A").split("_")[-1] != first.split("_")[-1]


def test_a_domain_that_the_contract_does_not_name_is_not_opened(house: House) -> None:
    with house.opened():
        opener = Decryptor(house.store, Keyring(house.root_key), folder=house.folder)
        opener.tokenizer_for(contract(columns=(column("x", "claim"),)))
        with pytest.raises(NotFound):
            opener.tokenizer_for(contract(columns=(column("x", "member"),))).tokenize_value("claim", "A")


def test_another_key_server_opens_nothing(house: House) -> None:
    promised = contract(columns=(column("x", "claim"),))
    with house.opened():
        Decryptor(house.store, Keyring(house.root_key), folder=house.folder).tokenizer_for(promised)
        with pytest.raises(Refused):
            Decryptor(house.store, Keyring(), folder=house.folder).tokenizer_for(promised)


def test_an_original_without_its_key_is_gone(house: House) -> None:
    with house.opened():
        opener = Decryptor(house.store, Keyring(house.root_key), folder=house.folder)
        with pytest.raises(NotFound, match="retention ended"):
            opener.read_original(kept()._replace(wrapped=None))
