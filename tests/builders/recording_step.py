"""A recorder and a clock for tests without a journal: entries are collected in a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType

from pydantic import JsonValue

from wellspring.errors import Refused
from wellspring.observe.recorder import is_trace, validate_facts
from wellspring.records.clock import Clock
from wellspring.records.trust import Entry, EntryPhase, IndexedEntry, Ref


class Died(BaseException):
    """Simulates a kill at a crash point: no step records its exit."""


class FixedClock:
    """A clock that changes only when a test advances it."""

    def __init__(self, instant: datetime | None = None) -> None:
        self.instant = instant or datetime(2026, 11, 25, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant

    def pass_(self, **span: float) -> None:
        """Advance the clock: `clock.pass_(days=1)`."""
        self.instant += timedelta(**span)


class RecordingStep:
    """Implements records.observe.Recorder. entries: recorded entries; points: crash points that were passed.

    die_at: raise Died at the crash point of this name, the `nth` time that it is passed.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        tenant: str = "acme",
        die_at: str | None = None,
        nth: int = 1,
        service: str = "test",
    ) -> None:
        self.clock = clock or FixedClock()
        self.tenant = tenant
        self.service = service
        self.entries: list[Entry] = []
        self.points: list[str] = []
        self.traces: list[str] = []
        self.die_at = die_at
        self.nth = nth

    def __call__(
        self,
        action: str,
        subject: str,
        *,
        inputs: Iterable[Ref] = (),
        outputs: Iterable[Ref] = (),
        intent: bool = False,
        facts: dict[str, JsonValue] | None = None,
    ) -> RecordedStep:
        return RecordedStep(self, action, subject, list(inputs), list(outputs), intent, dict(facts or {}))

    def complete_after_crash(
        self, action: str, subject: str, intent: str, *, facts: dict[str, JsonValue] | None = None
    ) -> None:
        self.write(action, "done", subject, intent=intent, inputs=(), outputs=(), facts=facts or {})

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
        validate_facts(facts or {})
        return self.write(action, "done", subject, intent=None, inputs=inputs, outputs=outputs, facts=facts or {}).id

    def current_trace(self) -> str:
        return self.traces[-1] if self.traces else "0" * 31 + "1"

    @contextmanager
    def continue_trace(self, trace: str | None) -> Iterator[str]:
        self.traces.append(trace if is_trace(trace) else "0" * 31 + "2")
        try:
            yield self.traces[-1]
        finally:
            self.traces.pop()

    def record_heartbeat(self) -> None:
        self.write("heartbeat", "done", f"journal:{self.service}", intent=None, inputs=(), outputs=(), facts={})

    def crash_point(self, point: str) -> None:
        self.points.append(point)
        if point == self.die_at and self.points.count(point) == self.nth:
            raise Died(point)

    def write(
        self,
        action: str,
        phase: EntryPhase,
        subject: str,
        *,
        intent: str | None,
        inputs: Iterable[Ref],
        outputs: Iterable[Ref],
        facts: dict[str, JsonValue],
    ) -> Entry:
        """Append one entry."""
        entry = Entry(
            tenant=self.tenant,
            known_since=self.clock.now(),
            service=self.service,
            sequence=len(self.entries),
            actor="service:test",
            action=action,
            phase=phase,
            subject=subject,
            intent=intent,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            facts=dict(facts),
            trace=self.traces[-1] if self.traces else "0" * 32,
        )
        self.entries.append(entry)
        return entry

    def done(self, action: str) -> list[Entry]:
        """List the `done` entries of an action."""
        return [entry for entry in self.entries if (entry.action, entry.phase) == (action, "done")]

    def open_intents(self) -> list[IndexedEntry]:
        """List the intents without a final entry, like the ledger index."""
        settled = {entry.intent for entry in self.entries}
        return [
            IndexedEntry(index=entry.sequence, entry=entry)
            for entry in self.entries
            if entry.phase == "intent" and entry.id not in settled
        ]


class RecordedStep:
    """One step inside its `with`."""

    def __init__(
        self,
        step: RecordingStep,
        action: str,
        subject: str,
        inputs: list[Ref],
        outputs: list[Ref],
        intent: bool,
        facts: dict[str, JsonValue],
    ) -> None:
        self.id = ""
        self.trace = "0" * 32
        self._step = step
        self._action = action
        self._subject = subject
        self._inputs = inputs
        self._outputs = outputs
        self._intent = intent
        self._facts = facts

    def add_facts(self, **facts: JsonValue) -> None:
        self._facts.update(facts)

    def add_inputs(self, *refs: Ref) -> None:
        self._inputs.extend(refs)

    def add_outputs(self, *refs: Ref) -> None:
        self._outputs.extend(refs)

    def __enter__(self) -> RecordedStep:
        if self._intent:
            self.id = self._write("intent").id
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trail: TracebackType | None
    ) -> None:
        if isinstance(problem, Died):
            return
        self._write("done" if problem is None else "refused" if isinstance(problem, Refused) else "failed")

    def _write(self, phase: EntryPhase) -> Entry:
        return self._step.write(
            self._action,
            phase,
            self._subject,
            intent=(self.id or None) if phase != "intent" else None,
            inputs=self._inputs,
            outputs=self._outputs,
            facts=self._facts,
        )
