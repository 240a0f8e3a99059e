"""A person row opens with its keys, as the row of its own person."""

from __future__ import annotations

import os
from typing import Any

import pytest

from wellspring.errors import CorruptedError, NotFound
from wellspring.trust.person_cipher import PersonCipher, SealedPerson

VALUES = '{"person_id":"P00000001","last_name":"Byron"}'
CIPHER = PersonCipher(os.urandom(32), 3)


def seal(token: str = "person_k1_a", tenant: str = "", cipher: PersonCipher = CIPHER) -> SealedPerson:
    ((wrapped_key, sealed),) = cipher.seal_rows("person", tenant, [token], [VALUES])
    return SealedPerson("person", token, tenant, cipher.version, wrapped_key, sealed)


def test_a_row_opens_to_its_values():
    assert CIPHER.open_row(seal()) == {"person_id": "P00000001", "last_name": "Byron"}


@pytest.mark.parametrize("change", [{"token": "person_k1_b"}, {"domain": "member"}, {"tenant": "north"}])
def test_a_row_opens_under_no_other_token_domain_or_tenant(change: dict[str, Any]):
    with pytest.raises(CorruptedError) as raised:
        CIPHER.open_row(seal()._replace(**change))
    assert "Byron" not in raised.value.what


def test_values_do_not_open_with_the_key_of_another_person():
    with pytest.raises(CorruptedError):
        CIPHER.open_row(seal()._replace(wrapped_key=seal().wrapped_key))


def test_another_wrapping_key_opens_nothing():
    with pytest.raises(CorruptedError):
        PersonCipher(os.urandom(32), 3).open_row(seal())


def test_a_row_without_its_key_is_gone():
    with pytest.raises(NotFound, match="was deleted"):
        CIPHER.open_row(seal()._replace(wrapped_key=None))


def test_values_and_keys_are_encrypted_and_each_sealing_differs():
    first, second = seal(), seal()
    assert b"Byron" not in first.sealed
    assert b"P00000001" not in first.sealed
    assert first.sealed != second.sealed
    assert first.wrapped_key != second.wrapped_key
