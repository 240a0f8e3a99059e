"""Define the recorder and its steps as protocols; `bootstrap` creates the implementation."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from pydantic import JsonValue

from wellspring.records.trust import Ref


class StepContext(Protocol):
    """An active step inside its `with`. The exit records it as done, refused (on Refused) or failed."""

    @property
    def id(self) -> str:
        """Id of the intent entry (`service:sequence`) if the step has intent=True, else ''."""
        ...

    @property
    def trace(self) -> str:
        """W3C trace id, 32 hex digits."""
        ...

    def add_facts(self, **facts: JsonValue) -> None:
        """Add facts to the entry: counts, digests and names, never a value from personal data."""
        ...

    def add_inputs(self, *refs: Ref) -> None:
        """Add inputs to the entry and its lineage event."""
        ...

    def add_outputs(self, *refs: Ref) -> None:
        """Add outputs to the entry and its lineage event."""
        ...


class Recorder(Protocol):
    """Record steps: ledger entry, metric, OpenLineage event and trace, in one `with`.

    `with step("admit", "drop:...", inputs=[...]) as context: ...` A step whose entry cannot be written is refused.
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
        """Write the `done` entry of an intent that a crash left open, after recovery found its work complete."""
        ...

    def record_prediction(
        self,
        action: str,
        subject: str,
        *,
        inputs: Iterable[Ref] = (),
        outputs: Iterable[Ref] = (),
        facts: dict[str, JsonValue] | None = None,
        seconds: float | None = None,
    ) -> str:
        """Write the entry of one prediction and return its id; it is durable (group commit) when this returns.

        Metrics are batched in memory; lineage is written once a minute for each action and first input.
        """
        ...

    def current_trace(self) -> str:
        """Return the trace of the enclosing step or of `continue_trace`, else a new one."""
        ...

    def continue_trace(self, trace: str | None) -> AbstractContextManager[str]:
        """Continue the trace of another process; start a new one for None and for malformed text."""
        ...

    def record_heartbeat(self) -> None:
        """Write an entry that says only that the service runs; it is durable when this returns."""
        ...

    def crash_point(self, point: str) -> None:
        """Mark a crash point (`lake.publish:act`); a crash test can kill the process at it."""
        ...
