"""Define the key server: it wraps and signs with named keys, whose bytes never leave it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol


class DataKey(NamedTuple):
    """A new 256-bit key, plain and wrapped with the named key. Store only `wrapped`.

    version: of the named key, which wrapped it.
    """

    plaintext: bytes
    wrapped: str
    version: int = 1


class DataKeys(Protocol):
    """Envelope encryption: the server wraps, the caller encrypts."""

    def generate_data_key(self, name: str) -> DataKey: ...

    def unwrap_key(self, name: str, wrapped: str) -> bytes:
        """Return the plain key. Raises Refused if the caller may not use the key, Unavailable without a server."""
        ...


class LogKeyVersions(Protocol):
    """The versions of the log's key, counted from 1."""

    def open_signer(self, version: int) -> LogSigner:
        """Return what signs with one version."""
        ...

    def latest_version(self) -> int: ...

    def add_version(self) -> int:
        """Make a new version, and return it. Earlier ones still sign until `retire_versions`."""
        ...

    def retire_versions(self, before: int) -> None:
        """Let no version before this one sign any more."""
        ...

    def created_at(self, version: int) -> datetime:
        """Return when a version was made."""
        ...


class VersionedSigner(Protocol):
    """Signs with the newest version of a key that has several, which all verify."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature."""
        ...

    def public_key(self) -> bytes:
        """Return the 32-byte public key of the newest version."""
        ...

    def public_keys(self) -> tuple[bytes, ...]:
        """Return the public keys of all versions, the newest first."""
        ...


class LogSigner(Protocol):
    """Signs for the log with Ed25519 (RFC 8032, pure)."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature."""
        ...

    def public_key(self) -> bytes:
        """Return the 32-byte public key."""
        ...
