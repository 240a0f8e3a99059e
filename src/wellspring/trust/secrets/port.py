"""What the house may ask of a secrets manager."""

from __future__ import annotations

from typing import Protocol


class Secrets(Protocol):
    """Secrets by path (`enclave/postgres`), each a small map of text."""

    def read(self, path: str) -> dict[str, str]:
        """Raises NotFound, Refused, Unavailable."""
        ...

    def write(self, path: str, values: dict[str, str]) -> None: ...
