"""The one door for facts, as a Protocol: everybody calls it, only assembly knows the real one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from pydantic import JsonValue

from wellspring.records.trust import Ref


class StepContext(Protocol):
    """One step under way, inside its `with`. Leaving the `with` records it: done, refused (Refused) or failed."""

    @property
    def id(self) -> str:
        """The id of the intent entry (`service:sequence`) if the step was opened with intent=True, else ''."""
        ...

    @property
    def trace(self) -> str:
        """W3C trace id, 32 hex digits."""
        ...

    def add_facts(self, **facts: JsonValue) -> None:
        """Add facts to the entry: counts, digests, names of things. Never a value from a person's data."""
        ...

    def add_inputs(self, *refs: Ref) -> None:
        """Add inputs, for lineage and for the story."""
        ...

    def add_outputs(self, *refs: Ref) -> None:
        """Add outputs, for lineage and for the story."""
        ...


class Recorder(Protocol):
    """The only way anything is recorded: metric, OpenLineage event, trace and ledger entry, in one `with`.

    `with step("admit", "drop:...", inputs=[...]) as act: ...` If the entry cannot be written, the action is refused.
    """

    def __call__(
        self,
        action: str,
        subject: str,
        *,
        inputs: Iterable[Ref] = (),
        outputs: Iterable[Ref] = (),
        intent: bool = False,
        facts: dict[str, JsonValue] | None = None,
    ) -> AbstractContextManager[StepContext]:
        """Open a step. intent=True writes (and fsyncs) an intent entry before the body runs."""
        ...

    def complete_after_crash(
        self, action: str, subject: str, intent: str, *, facts: dict[str, JsonValue] | None = None
    ) -> None:
        """Write the `done` of an intent that a crash left open and recovery found to be carried out."""
        ...

    def record_answer(
        self,
        action: str,
        subject: str,
        *,
        inputs: Iterable[Ref] = (),
        outputs: Iterable[Ref] = (),
        facts: dict[str, JsonValue] | None = None,
        seconds: float | None = None,
    ) -> str:
        """Journal one answer of the hot path and return its entry's id; it is durable (group commit) when this returns.

        One line each; metrics are kept in memory and lineage is told once a minute for each action and first input.
        """
        ...

    def crash_point(self, point: str) -> None:
        """Name a crash point (`lake.publish:act`). Does nothing, unless a crash test asked to die here."""
        ...
