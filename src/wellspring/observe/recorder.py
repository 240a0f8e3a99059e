"""Record steps: ledger entry, metric, OpenLineage event and trace, in one `with`."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, TypeGuard

from pydantic import JsonValue

from wellspring.errors import Refused, Unavailable
from wellspring.records.clock import Clock
from wellspring.records.jobs import RunIdentity
from wellspring.records.record import format_instant
from wellspring.records.trust import Entry, EntryPhase, Ref
from wellspring.runtime.crash_point import reach_crash_point

if TYPE_CHECKING:
    from wellspring.observe.lineage import LineageWriter
    from wellspring.observe.metrics import StepMetrics
    from wellspring.trust.ledger.journal import Journal

MAX_TEXT_LENGTH = 200
"""Maximum length of a text fact, in characters: names, codes, digests and tokens fit, a data row does not."""
MAX_INTEGER = 2**53 - 1
"""The largest integer in canonical JSON (RFC 8785); larger ones (snapshot ids) are written as text."""
RESERVED_FACTS = frozenset({"error", "verdict"})
"""Facts that only this module writes; they describe how a step ended."""
_TRACE_PATTERN = re.compile(r"[0-9a-f]{32}")


class StepRecorder:
    """Open the steps of one service and record them.

    The ledger entry is durable before the metric and the lineage event are written. If it cannot be written, the step
    is refused: the caller gets Unavailable or CorruptedError, and the body of an intent step never runs. If a metric
    or lineage event cannot be written, the entry stays and Unavailable is raised; it is safe to repeat the step.
    A step opened inside another shares its trace. run: the job in which this process records; each entry names it and
    has its trace. actor: the principal of the service (`service:worker`).
    tenant: written to every entry. crash_at: the crash point at which the process kills itself.
    """

    def __init__(
        self,
        *,
        service: str,
        actor: str,
        tenant: str,
        journal: Journal,
        metrics: StepMetrics,
        lineage: LineageWriter,
        clock: Clock,
        crash_at: str | None,
        run: RunIdentity | None = None,
    ) -> None:
        self.service = service
        self.actor = actor
        self.tenant = tenant
        self._writer = _StepWriter(service, actor, journal, metrics, lineage, clock, run)
        self._crash_at = crash_at

    def __call__(
        self,
        action: str,
        subject: str,
        *,
        inputs: Iterable[Ref] = (),
        outputs: Iterable[Ref] = (),
        intent: bool = False,
        facts: dict[str, JsonValue] | None = None,
    ) -> ActiveStep:
        """Open a step. Raises ValueError for facts that an entry may not hold (see `validate_facts`)."""
        return ActiveStep(
            self._writer, action, subject, inputs=inputs, outputs=outputs, intent=intent, facts=facts or {}
        )

    def complete_after_crash(
        self, action: str, subject: str, intent: str, *, facts: dict[str, JsonValue] | None = None
    ) -> None:
        validate_facts(facts or {})
        entry = self._writer.write_entry(
            action, "done", subject, intent=intent, facts=facts or {}, trace=self._writer.current_trace()
        )
        self._writer.write_telemetry(entry, seconds=None, started_at=None)

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
        """Write the entry of one prediction, durably, and return its id. Raises the same errors as a step.

        The prediction must not be returned if this raises. Metrics and lineage derive from the journal and are batched.
        """
        validate_facts(facts or {})
        entry = self._writer.write_entry(
            action,
            "done",
            subject,
            intent=None,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            facts=facts or {},
            trace=self._writer.current_trace(),
        )
        self._writer.count_batched(entry, seconds)
        return entry.id

    def current_trace(self) -> str:
        """Return the trace of the enclosing step or of `continue_trace`, else a new one."""
        return self._writer.current_trace()

    @contextmanager
    def continue_trace(self, trace: str | None) -> Generator[str]:
        """Continue the trace of another process in the steps of this thread or task, and yield it.

        Starts a new trace for None and for malformed text, which refuses nothing: traces have no effect on decisions.
        """
        known_trace = trace if is_trace(trace) else secrets.token_hex(16)
        token = self._writer.active_trace.set(known_trace)
        try:
            yield known_trace
        finally:
            self._writer.active_trace.reset(token)

    def record_heartbeat(self) -> None:
        """Write an entry that says only that the service runs. Raises the same errors as a step.

        It has no metric and no lineage event: they would say the same each minute.
        """
        self._writer.write_entry(
            "heartbeat", "done", f"journal:{self.service}", intent=None, facts={}, trace=self._writer.current_trace()
        )

    def close(self) -> None:
        """Write the metrics that are still in memory. The recorder stays usable."""
        self._writer.flush()

    def crash_point(self, point: str) -> None:
        """Kill the process with SIGKILL if this is the crash point of a crash test."""
        reach_crash_point(self._crash_at, point)


class ActiveStep:
    """One step inside its `with`; implements StepContext. Each instance is used once."""

    def __init__(
        self,
        writer: _StepWriter,
        action: str,
        subject: str,
        *,
        inputs: Iterable[Ref],
        outputs: Iterable[Ref],
        intent: bool,
        facts: dict[str, JsonValue],
    ) -> None:
        self.id = ""
        self.trace = ""
        self._writer = writer
        self._action = action
        self._subject = subject
        self._inputs = list(inputs)
        self._outputs = list(outputs)
        self._intent = intent
        self._facts: dict[str, JsonValue] = {}
        self._token: Token[str | None] | None = None
        self._start_time = 0.0
        self._started_at: str | None = None
        self.add_facts(**facts)

    def add_facts(self, **facts: JsonValue) -> None:
        """Add facts to the entry. Raises ValueError for facts that an entry may not hold (see `validate_facts`)."""
        validate_facts(facts)
        if reserved := RESERVED_FACTS & facts.keys():
            raise ValueError(f"{', '.join(sorted(reserved))}: only the step itself writes this fact")
        self._facts.update(facts)

    def add_inputs(self, *refs: Ref) -> None:
        self._inputs.extend(refs)

    def add_outputs(self, *refs: Ref) -> None:
        self._outputs.extend(refs)

    def __enter__(self) -> ActiveStep:
        self.trace = self._writer.current_trace()
        self._start_time = time.perf_counter()
        self._started_at = format_instant(self._writer.clock.now())
        if self._intent:
            entry = self._write_entry("intent", {})
            self.id = entry.id
            try:
                self._writer.write_telemetry(entry, seconds=None, started_at=self._started_at)
            except Unavailable as exc:
                # The body will not run, so recovery must not find its intent open.
                self._write_entry("failed", {"error": type(exc).__name__})
                raise
            self._started_at = None
        self._token = self._writer.active_trace.set(self.trace)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._start_time
        if self._token is not None:
            self._writer.active_trace.reset(self._token)
        entry = self._write_entry(*_describe_ending(exc))
        try:
            self._writer.write_telemetry(entry, seconds=seconds, started_at=self._started_at)
        except Unavailable as write_error:
            if exc is None:
                raise
            # The error of the body is the one that the caller must handle.
            exc.add_note(write_error.what)

    def _write_entry(self, phase: EntryPhase, outcome_facts: dict[str, JsonValue]) -> Entry:
        return self._writer.write_entry(
            self._action,
            phase,
            self._subject,
            intent=self.id or None,
            inputs=tuple(self._inputs),
            outputs=tuple(self._outputs),
            facts={**self._facts, **outcome_facts},
            trace=self.trace,
        )


class _StepWriter:
    """Write the entry of a step first, then its metric and lineage event."""

    def __init__(
        self,
        service: str,
        actor: str,
        journal: Journal,
        metrics: StepMetrics,
        lineage: LineageWriter,
        clock: Clock,
        run: RunIdentity | None,
    ) -> None:
        self.clock = clock
        # One variable per recorder: two projects in one process do not share a trace.
        self.active_trace: ContextVar[str | None] = ContextVar(
            "wellspring.trace", default=None if run is None else run.trace
        )
        self._run_facts: dict[str, JsonValue] = {} if run is None else {"job": run.job, "principal": run.principal}
        self._service = service
        self._actor = actor
        self._journal = journal
        self._metrics = metrics
        self._lineage = lineage

    def current_trace(self) -> str:
        """Return the trace of the enclosing step, else a new trace id (W3C: 32 hex digits)."""
        return self.active_trace.get() or secrets.token_hex(16)

    def write_entry(
        self,
        action: str,
        phase: EntryPhase,
        subject: str,
        *,
        intent: str | None,
        facts: dict[str, JsonValue],
        trace: str,
        inputs: tuple[Ref, ...] = (),
        outputs: tuple[Ref, ...] = (),
    ) -> Entry:
        """Write the ledger entry, durably. Raises Unavailable or CorruptedError; then the step is refused."""
        try:
            return self._journal.append_entry(
                actor=self._actor,
                action=action,
                phase=phase,
                subject=subject,
                intent=intent,
                inputs=inputs,
                outputs=outputs,
                facts={**self._run_facts, **facts},
                trace=trace,
            )
        except OSError as exc:
            raise Unavailable(
                f"the journal of {self._service} cannot be written ({type(exc).__name__}), so {action} is refused",
                fix="free disk space or correct the owner of the folder, then run the command again",
            ) from exc

    def write_telemetry(self, entry: Entry, *, seconds: float | None, started_at: str | None) -> None:
        """Write the metric and lineage event of a durable entry. started_at: start of the step if START is due."""
        try:
            if entry.phase != "intent":
                self._metrics.count_step(entry.action, entry.phase, seconds)
            self._lineage.write_events(entry, started_at=started_at)
        except OSError as exc:
            raise _telemetry_error(entry, exc) from exc

    def count_batched(self, entry: Entry, seconds: float | None) -> None:
        """Count a prediction in memory and write its lineage event if the sampling interval has passed."""
        try:
            self._metrics.count_batched(entry.action, entry.phase, seconds, counted_at=entry.known_since)
            self._lineage.append_sampled(entry)
        except OSError as exc:
            raise _telemetry_error(entry, exc) from exc

    def flush(self) -> None:
        """Write the metrics that are in memory. A write error is ignored: the ledger holds the facts."""
        try:
            self._metrics.flush()
        except OSError:
            return


def is_trace(value: object) -> TypeGuard[str]:
    """Return whether a value is a W3C trace id: 32 lower-case hex digits, not all zero."""
    return isinstance(value, str) and bool(_TRACE_PATTERN.fullmatch(value)) and value != "0" * 32


def _telemetry_error(entry: Entry, exc: OSError) -> Unavailable:
    return Unavailable(
        f"{entry.action} is in the ledger as {entry.id}, but its metric or lineage event could not be written "
        f"({type(exc).__name__})",
        fix="free disk space or correct the owner of the folder, then run the command again; no work is repeated",
    )


def _describe_ending(exc: BaseException | None) -> tuple[EntryPhase, dict[str, JsonValue]]:
    """Return the phase and the outcome facts of a step. The text of the exception may quote data: it is left out."""
    if exc is None:
        return "done", {}
    if not isinstance(exc, Refused):
        return "failed", {"error": type(exc).__name__}
    verdict = exc.verdict
    if verdict is None:
        return "refused", {"error": type(exc).__name__}
    # Only codes and counts: the name of an undeclared column comes from the file and may be personal data.
    reasons: list[JsonValue] = [{"code": reason.code, "count": reason.count} for reason in verdict.reasons]
    return "refused", {
        "error": type(exc).__name__,
        "verdict": {"outcome": verdict.outcome, "reasons": reasons},
    }


def validate_facts(facts: JsonValue, *, location: str = "facts") -> None:
    """Raise ValueError unless facts are integers, short texts, bools, nulls, and lists and maps of those.

    Floats are excluded because their canonical text differs between libraries; text over 200 characters may be data.
    """
    match facts:
        case None | bool():
            return
        case int():
            if abs(facts) > MAX_INTEGER:
                raise ValueError(f"{location}: an integer beyond 2^53 must be written as text")
        case str():
            if len(facts) > MAX_TEXT_LENGTH:
                raise ValueError(f"{location}: a fact has at most {MAX_TEXT_LENGTH} characters, not {len(facts)}")
        case list():
            for position, value in enumerate(facts):
                validate_facts(value, location=f"{location}[{position}]")
        case dict():
            for name, value in facts.items():
                # A map from untyped code may have keys that are not text.
                if type(name) is not str or not re.fullmatch(r"[A-Za-z0-9_.:@/-]{1,100}", name):
                    raise ValueError(f"{location}: the name of a fact is one word of at most 100 characters")
                validate_facts(value, location=f"{location}.{name}")
        case _:
            raise ValueError(f"{location}: {type(facts).__name__} cannot be a fact; use integers, text, bools or nulls")
