"""Wrap and sign with OpenBao's transit engine; only data keys leave it."""

from __future__ import annotations

import base64
from typing import Any

from wellspring.errors import CorruptedError
from wellspring.trust.identity.openbao import OpenBaoSession, map_errors
from wellspring.trust.keys.port import DataKey


class OpenBaoDataKeys:
    """Envelope encryption with transit's AES-256-GCM keys. client: a separate client for another thread."""

    def __init__(self, session: OpenBaoSession, *, client: Any = None) -> None:
        self._transit: Any = (client or session.client).secrets.transit

    def generate_data_key(self, name: str) -> DataKey:
        with map_errors(f"make a data key under {name}"):
            response = self._transit.generate_data_key(name=name, key_type="plaintext", bits=256)
        data = response["data"]
        return DataKey(base64.b64decode(data["plaintext"]), str(data["ciphertext"]))

    def unwrap_key(self, name: str, wrapped: str) -> bytes:
        from hvac.exceptions import InvalidRequest

        with map_errors(f"unwrap a data key of {name}"):
            try:
                response = self._transit.decrypt_data(name=name, ciphertext=wrapped)
            except InvalidRequest:
                raise CorruptedError(
                    f"a wrapped key cannot be unwrapped with {name}",
                    fix="it was changed, or wrapped with another key: restore it from a copy; do not retry",
                ) from None
        return base64.b64decode(response["data"]["plaintext"])


class OpenBaoSigner:
    """Signs for the log with one version of a transit Ed25519 key: a new key version would need a new log."""

    def __init__(self, session: OpenBaoSession, name: str = "ledger", *, version: int = 1) -> None:
        self._transit: Any = session.client.secrets.transit
        self._name = name
        self._version = version

    def sign(self, message: bytes) -> bytes:
        return sign_in_transit(self._transit, self._name, message, version=self._version)

    def public_key(self) -> bytes:
        with map_errors(f"read the public key of {self._name}"):
            response = self._transit.read_key(name=self._name)
        return base64.b64decode(response["data"]["keys"][str(self._version)]["public_key"])


def sign_in_transit(transit: Any, name: str, message: bytes, *, version: int = 1) -> bytes:
    """Sign with one version of an Ed25519 key. transit: the engine's client of hvac."""
    with map_errors(f"sign with {name}"):
        response = transit.sign_data(name=name, hash_input=base64.b64encode(message).decode(), key_version=version)
    return base64.b64decode(str(response["data"]["signature"]).rpartition(":")[2])
