"""Define principals and login sessions. Each process logs in once, with a single-use wrapped secret-id."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

Role = Literal["worker", "enclave", "api"]


class Principal(NamedTuple):
    """`service:worker`, or `user:NAME` with the roles of NAME in wellspring.toml."""

    name: str
    roles: tuple[str, ...] = ()


class LoginSession(Protocol):
    """A login that is renewed while the process runs."""

    @property
    def principal(self) -> Principal: ...

    def close(self) -> None:
        """Revoke the login."""
        ...
