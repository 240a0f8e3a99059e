"""Keys in memory, with AES: the Keys port for tests that need no key server."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wellspring.errors import Refused
from wellspring.trust.keys.port import DataKey


class Keyring:
    def __init__(self, root: bytes | None = None) -> None:
        self._root = AESGCM(root or os.urandom(32))
        self.version = 1
        """Of every key; a test raises it, as a rotation does."""

    def generate_data_key(self, name: str) -> DataKey:
        plain, nonce = os.urandom(32), os.urandom(12)
        return DataKey(plain, (nonce + self._root.encrypt(nonce, plain, name.encode())).hex(), self.version)

    def unwrap_key(self, name: str, wrapped: str) -> bytes:
        sealed = bytes.fromhex(wrapped)
        try:
            return self._root.decrypt(sealed[:12], sealed[12:], name.encode())
        except InvalidTag:
            raise Refused(f"{name} does not open this", fix="none") from None
