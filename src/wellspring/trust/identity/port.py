"""Define roles and principals. Each process logs in once, with a single-use wrapped secret-id."""

from __future__ import annotations

from typing import Literal, NamedTuple

Role = Literal["worker", "enclave", "api"]


class Principal(NamedTuple):
    """`service:worker`, or `user:NAME` with the roles of NAME in wellspring.toml.

    tenant: to which it belongs; empty for the project's own tenant.
    """

    name: str
    roles: tuple[str, ...] = ()
    tenant: str = ""
