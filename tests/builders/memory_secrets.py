"""Secrets by path, in memory."""

from __future__ import annotations

from wellspring.errors import NotFound


class MemorySecrets:
    """Implements SecretStore. values: what is stored, by path."""

    def __init__(self, values: dict[str, dict[str, str]] | None = None) -> None:
        self.values = values or {}

    def read_secret(self, path: str) -> dict[str, str]:
        if path not in self.values:
            raise NotFound(f"no secret {path}", fix="check the name")
        return self.values[path]

    def write_secret(self, path: str, values: dict[str, str]) -> None:
        self.values[path] = values
