"""Seal the person rows of the vault: each under a data key of that person, which a key-encryption key wraps here.

Sealed values and wrapped key are AES-256-GCM with random nonces. Domain, token and tenant are associated data of both,
so a row opens as the row of that person only. Who deletes a wrapped key has deleted what it sealed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from wellspring.errors import CorruptedError, NotFound

PEOPLE_KEY_NAME = "people"
_KEY_BYTES, _NONCE_BYTES = 32, 12


class SealedPerson(NamedTuple):
    """A person row. key_version: of the key-encryption key. wrapped_key: None after it was deleted.

    tenant: whose person it is; empty for the project's own tenant.
    """

    domain: str
    token: str
    tenant: str
    key_version: int
    wrapped_key: bytes | None
    sealed: bytes


class PersonCipher:
    """Seals and opens person rows with one version of the key-encryption key."""

    def __init__(self, key: bytes, version: int) -> None:
        self.version = version
        self._key_cipher = _open_cipher(key)

    def seal_rows(
        self, domain: str, tenant: str, tokens: Sequence[str], values: Sequence[str]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the wrapped key and the sealed values of each person. values: one JSON object for each token."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        # Written out: a drop has millions of persons.
        keys = _split_random(_KEY_BYTES, len(tokens))
        nonces, key_nonces = (_split_random(_NONCE_BYTES, len(tokens)) for _ in range(2))
        wrap = self._key_cipher.encrypt
        for token, text, key, nonce, key_nonce in zip(tokens, values, keys, nonces, key_nonces, strict=True):
            label = _label_row(domain, token, tenant)
            sealed = AESGCM(key).encrypt(nonce, text.encode(), label)
            yield key_nonce + wrap(key_nonce, key, label), nonce + sealed

    def open_row(self, row: SealedPerson) -> dict[str, Any]:
        """Return the original values by column. Raises NotFound after its key was deleted, CorruptedError."""
        from cryptography.exceptions import InvalidTag

        if row.wrapped_key is None:
            raise NotFound(f"the key of {row.token} was deleted", fix="nothing brings its values back")
        label = _label_row(row.domain, row.token, row.tenant)
        try:
            key = self._key_cipher.decrypt(row.wrapped_key[:_NONCE_BYTES], row.wrapped_key[_NONCE_BYTES:], label)
            content = _open_cipher(key).decrypt(row.sealed[:_NONCE_BYTES], row.sealed[_NONCE_BYTES:], label)
        except (InvalidTag, ValueError):
            raise CorruptedError(
                f"the row of {row.token} cannot be decrypted",
                fix="keep the enclave's database unchanged and find out who wrote the row",
            ) from None
        return json.loads(content)


def _open_cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _split_random(size: int, count: int) -> list[bytes]:
    """Return random texts of one size."""
    content = os.urandom(size * count)
    return [content[start : start + size] for start in range(0, len(content), size)]


def _label_row(domain: str, token: str, tenant: str) -> bytes:
    # A null byte is in none of the three.
    return f"wellspring person 1\0{domain}\0{token}\0{tenant}".encode()
