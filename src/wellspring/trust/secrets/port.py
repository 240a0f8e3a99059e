"""Define the secrets manager."""

from __future__ import annotations

from typing import Protocol


class SecretStore(Protocol):
    """Secrets by path (`enclave/postgres`), each a small map of text."""

    def read_secret(self, path: str) -> dict[str, str]:
        """Return a secret. Raises NotFound, Refused, Unavailable."""
        ...

    def write_secret(self, path: str, values: dict[str, str]) -> None: ...
