"""Define the release of a change of policies, dbt code or a contract; a model has `records.models.Release`."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from wellspring.records.record import Digest, Frozen, Record
from wellspring.records.trust import Ref

ChangeKindName = Literal["policy", "transform", "contract"]
CHANGE_KINDS: tuple[ChangeKindName, ...] = ("policy", "transform", "contract")
"""The kinds of changes, beside the releases of models."""
PROJECT_WIDE = "project"
"""The name of what a project has once: its policies, its dbt code. The project's own name may change."""


class ChangeRelease(Record):
    """An immutable proposal to replace what is live of one kind and name; a change of it needs a new release.

    id: 12 hex of `digest`, the SHA-256 of the canonical JSON of the other fields without tenant and known_since.
    name: of what changes, unique in its kind. content: digest of what becomes live. replaces: id of the release that
    was live when this one was drafted, or '' for the first. summary: what changes, in words. version: the one that the
    content names itself, or ''.
    """

    id: str
    digest: Digest
    kind: ChangeKindName
    name: str
    content: Digest
    replaces: str
    summary: tuple[str, ...]
    needs_second_person: bool
    version: str = ""

    @property
    def subject(self) -> str:
        return f"release:{self.id}"

    @property
    def signed_name(self) -> str:
        """What changes, as the notes of its users name it: `KIND:NAME`."""
        return f"{self.kind}:{self.name}"

    @property
    def content_ref(self) -> Ref:
        """The ledger reference of what becomes live."""
        name = f"{self.signed_name}@{self.version}" if self.version else self.signed_name
        return Ref(name=name, digest=self.content)


class ChangeDraft(Frozen):
    """What a proposer sees before signing. details: of the kind, for `--json`. content: '' if nothing changes."""

    content: Digest
    summary: tuple[str, ...]
    needs_second_person: bool
    version: str = ""
    details: dict[str, JsonValue] = {}
