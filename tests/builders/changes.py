"""Releases of changes for tests, and a ledger with their switches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.builders.approvals import Books, Somebody
from tests.builders.leases import ScriptedFence
from tests.builders.recording_step import RecordingStep
from wellspring.records.changes import ChangeDraft, ChangeKindName, ChangeRelease
from wellspring.trust.approvals import record_approval, record_proposal
from wellspring.trust.changes import store
from wellspring.trust.changes.activation import ChangeContext, activate_change, adopt_content
from wellspring.trust.changes.store import ChangeStore
from wellspring.trust.policy import PolicySet

ANYTHING = PolicySet({"a.cedar": "permit (principal, action, resource);"})


def build_change(
    kind: ChangeKindName = "policy",
    name: str = "benefits",
    *,
    content: str = "1" * 64,
    replaces: str = "",
    needs_second_person: bool = True,
) -> ChangeRelease:
    """Return a release with a valid digest."""
    draft = ChangeDraft(content=content, summary=("something",), needs_second_person=needs_second_person)
    return store.build_change(kind, name, draft, replaces=replaces, tenant="acme", clock=RecordingStep().clock)


class ChangedProject:
    """A ledger and a folder of releases. ana proposes, bo approves. applied: contents that a kind was told to apply."""

    def __init__(self, folder: Path, *, name: str = "benefits") -> None:
        self.name = name
        self.ana, self.bo = Somebody("ana", "owner"), Somebody("bo", "approver")
        self.books = Books(self.ana, self.bo)
        self.step: Any = self.books.step
        self.step.service = "worker"
        self.store = ChangeStore(folder)
        self.fence = ScriptedFence()
        self.applied: list[str] = []

    @property
    def context(self) -> ChangeContext:
        return ChangeContext(self.store, self.books, self.fence)

    def apply(self, change: ChangeRelease) -> None:
        self.applied.append(change.content)

    def adopt(self, content: str = "0" * 64) -> ChangeRelease:
        return adopt_content(
            "policy",
            self.name,
            content,
            self.context,
            tenant="acme",
            clock=self.step.clock,
            apply=self.apply,
            step=self.step,
        )

    def propose(self, change: ChangeRelease, person: Somebody | None = None) -> ChangeRelease:
        self.store.save(change)
        record_proposal(
            change, change.content_ref, person or self.ana, ledger=self.books, policies=ANYTHING, step=self.step
        )
        return change

    def approve(self, change: ChangeRelease, person: Somebody | None = None) -> None:
        record_approval(change, person or self.bo, self.books, ANYTHING, step=self.step)

    def activate(self, change: ChangeRelease, person: str = "user:bo") -> None:
        activate_change(change, person, self.context, apply=self.apply, step=self.step)
