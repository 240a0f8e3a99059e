"""Define one kind of change as a protocol: what changes, whether it may, and how it acts once it is released."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from wellspring.records.changes import ChangeDraft, ChangeKindName, ChangeRelease
from wellspring.records.record import Digest

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform
    from wellspring.project import Project


class ContentChange(NamedTuple):
    """What would replace what. name: of what changes. live: the digest that is live, None before the first."""

    name: str
    live: Digest | None
    content: Digest


class ChangeKind(Protocol):
    """One kind of change. What is live of it changes by a release only, never by an edit on disk."""

    @property
    def kind(self) -> ChangeKindName: ...

    @property
    def resources(self) -> tuple[str, ...]:
        """What a job holds beside `change:KIND` while it drafts or activates a change."""
        ...

    def list_names(self, project: Project) -> tuple[str, ...]:
        """List what of this kind the project has on disk, by name."""
        ...

    def store_content(self, platform: Platform, name: str, /) -> Digest:
        """Keep what is on disk by its content, and return its digest. Raises ProjectError if it cannot be read."""
        ...

    def describe_change(self, platform: Platform, change: ContentChange, /) -> ChangeDraft:
        """Say in words what changes from the live content to the new one, and whether a second person must approve it.

        Raises Refused for a change that can never go live.
        """
        ...

    def check_change(self, platform: Platform, change: ChangeRelease, /) -> None:
        """Raise Refused, with a code, unless a change may go live now: the gate, at its proposal and its approval."""
        ...

    def apply_change(self, platform: Platform, change: ChangeRelease, /) -> None:
        """Do what makes the content act, beside the pointer to it. Idempotent: a recovery after a crash repeats it."""
        ...
