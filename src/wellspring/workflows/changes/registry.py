"""The kinds of changes by name: adding one is a file in this folder and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from wellspring.errors import NotFound, suggest_name
from wellspring.workflows.changes.contract import ContractChange
from wellspring.workflows.changes.policy import PolicyChange
from wellspring.workflows.changes.port import ChangeKind
from wellspring.workflows.changes.transform import TransformChange

_KINDS: tuple[ChangeKind, ...] = (PolicyChange(), TransformChange(), ContractChange())
CHANGE_KINDS: Mapping[str, ChangeKind] = MappingProxyType({kind.kind: kind for kind in _KINDS})


def find_change_kind(name: str) -> ChangeKind:
    """Return a kind of change. Raises NotFound with the nearest name."""
    if name not in CHANGE_KINDS:
        raise NotFound(f"no kind of change {name[:40]!a}", fix=suggest_name(name, CHANGE_KINDS))
    return CHANGE_KINDS[name]
