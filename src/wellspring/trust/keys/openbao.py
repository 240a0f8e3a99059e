"""Wrap and sign with OpenBao's transit engine; only data keys leave it."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Any, Protocol

from wellspring.errors import CorruptedError
from wellspring.trust.identity.openbao import OpenBaoSession, map_errors
from wellspring.trust.keys.port import DataKey


class TransitLogin(Protocol):
    """A login whose role may use keys of the transit engine (`OpenBaoSession`)."""

    @property
    def client(self) -> Any:
        """The client of hvac."""
        ...


class OpenBaoDataKeys:
    """Envelope encryption with transit's AES-256-GCM keys. client: a separate client for another thread."""

    def __init__(self, session: OpenBaoSession, *, client: Any = None) -> None:
        self._transit: Any = (client or session.client).secrets.transit

    def generate_data_key(self, name: str) -> DataKey:
        with map_errors(f"make a data key under {name}"):
            response = self._transit.generate_data_key(name=name, key_type="plaintext", bits=256)
        data = response["data"]
        wrapped = str(data["ciphertext"])
        # `vault:v3:...` was wrapped with version 3.
        return DataKey(base64.b64decode(data["plaintext"]), wrapped, int(wrapped.split(":")[1].removeprefix("v")))

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
    """Signs with one version of a transit Ed25519 key."""

    def __init__(self, session: TransitLogin, name: str = "ledger", *, version: int = 1) -> None:
        self._transit: Any = session.client.secrets.transit
        self._name = name
        self._version = version

    def sign(self, message: bytes) -> bytes:
        return sign_in_transit(self._transit, self._name, message, version=self._version)

    def public_key(self) -> bytes:
        with map_errors(f"read the public key of {self._name}"):
            response = self._transit.read_key(name=self._name)
        return base64.b64decode(response["data"]["keys"][str(self._version)]["public_key"])


class OpenBaoVersionedSigner:
    """Signs with the version of a transit Ed25519 key that is the newest when it is first used."""

    def __init__(self, session: TransitLogin, name: str) -> None:
        self._transit: Any = session.client.secrets.transit
        self._name = name
        self._public_keys: tuple[bytes, ...] = ()

    def sign(self, message: bytes) -> bytes:
        return sign_in_transit(self._transit, self._name, message, version=len(self.public_keys()))

    def public_key(self) -> bytes:
        return self.public_keys()[0]

    def public_keys(self) -> tuple[bytes, ...]:
        if not self._public_keys:
            with map_errors(f"read the public keys of {self._name}"):
                versions = self._transit.read_key(name=self._name)["data"]["keys"]
            newest_first = sorted(versions, key=int, reverse=True)
            self._public_keys = tuple(base64.b64decode(versions[version]["public_key"]) for version in newest_first)
        return self._public_keys


class OpenBaoKeyVersions:
    """The versions of a transit Ed25519 key. name: of the key; the policy of the login decides what it may do."""

    def __init__(self, session: TransitLogin, name: str = "ledger") -> None:
        self._session = session
        self._transit: Any = session.client.secrets.transit
        self._name = name

    def open_signer(self, version: int) -> OpenBaoSigner:
        return OpenBaoSigner(self._session, self._name, version=version)

    def latest_version(self) -> int:
        return int(self._read_key()["latest_version"])

    def add_version(self) -> int:
        with map_errors(f"make a new version of {self._name}"):
            self._transit.rotate_key(name=self._name)
        return self.latest_version()

    def retire_versions(self, before: int) -> None:
        with map_errors(f"retire the versions of {self._name} before {before}"):
            self._transit.update_key_configuration(name=self._name, min_encryption_version=before)

    def created_at(self, version: int) -> datetime:
        text = str(self._read_key()["keys"][str(version)]["creation_time"])
        # OpenBao writes nanoseconds, which datetime does not read.
        return datetime.fromisoformat(re.sub(r"\.\d+", "", text)).astimezone(UTC)

    def _read_key(self) -> dict[str, Any]:
        with map_errors(f"read the key {self._name}"):
            return self._transit.read_key(name=self._name)["data"]


def sign_in_transit(transit: Any, name: str, message: bytes, *, version: int = 1) -> bytes:
    """Sign with one version of an Ed25519 key. transit: the engine's client of hvac."""
    with map_errors(f"sign with {name}"):
        response = transit.sign_data(name=name, hash_input=base64.b64encode(message).decode(), key_version=version)
    return base64.b64decode(str(response["data"]["signature"]).rpartition(":")[2])
