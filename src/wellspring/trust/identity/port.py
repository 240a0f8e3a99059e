"""Who is asking: each process logs in for itself, once, with a wrapped secret-id that works a single time."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

Role = Literal["worker", "enclave", "api"]


class Principal(NamedTuple):
    """`service:worker`, or `user:NAME` with the roles that wellspring.toml gives NAME."""

    name: str
    roles: tuple[str, ...] = ()


class LoginSession(Protocol):
    """A login that renews itself while the process lives and ends with it."""

    @property
    def principal(self) -> Principal: ...

    def close(self) -> None:
        """Revoke the login."""
        ...
