"""What is locked opens for one act: originals and rows are tested in test_service.py, the keys of tokens here."""

from __future__ import annotations

import pytest

from tests.data.test_land import contract
from tests.enclave.house import House
from tests.enclave.keyring import Keyring
from tests.trust.vault.test_postgres import kept
from wellspring.enclave.opening import Opener
from wellspring.errors import NotFound, Refused
from wellspring.records.data import Column

pytestmark = pytest.mark.live


def column(name: str, domain: str) -> Column:
    return Column(name=name, type="string", leaves="token", domain=domain, classification="identifier")


def test_a_domain_gets_one_key_for_ever(house: House) -> None:
    keys = Keyring(house.root_key)
    promised = contract(columns=(column("x", "claim"), column("y", "claim"), column("z", "member")))
    with house.opened():
        opener = Opener(house.store, keys, folder=house.folder)
        first = opener.tokenizer(promised).one("claim", "A")
        wrapped = house.store.token_keys()
        assert sorted(wrapped) == ["claim", "member"]
        assert opener.tokenizer(promised).one("claim", "A") == first
        assert house.store.token_keys() == wrapped
        assert opener.tokenizer(promised).one("member", "A").split("_")[-1] != first.split("_")[-1]


def test_a_domain_that_the_contract_does_not_name_is_not_opened(house: House) -> None:
    with house.opened():
        opener = Opener(house.store, Keyring(house.root_key), folder=house.folder)
        opener.tokenizer(contract(columns=(column("x", "claim"),)))
        with pytest.raises(NotFound):
            opener.tokenizer(contract(columns=(column("x", "member"),))).one("claim", "A")


def test_another_key_server_opens_nothing(house: House) -> None:
    promised = contract(columns=(column("x", "claim"),))
    with house.opened():
        Opener(house.store, Keyring(house.root_key), folder=house.folder).tokenizer(promised)
        with pytest.raises(Refused):
            Opener(house.store, Keyring(), folder=house.folder).tokenizer(promised)


def test_an_original_without_its_key_is_gone(house: House) -> None:
    with house.opened():
        opener = Opener(house.store, Keyring(house.root_key), folder=house.folder)
        with pytest.raises(NotFound, match="retention ended"):
            opener.original(kept()._replace(wrapped=None))
