"""The only way anything is recorded: ledger entry, metric, OpenLineage event and trace, in one `with`."""

from __future__ import annotations

import os
import re
import secrets
import signal
import time
from collections.abc import Iterable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING

from pydantic import JsonValue

from wellspring.errors import Refused, Unavailable
from wellspring.records.clock import Clock
from wellspring.records.record import stamp
from wellspring.records.trust import Entry, Phase, Ref

if TYPE_CHECKING:
    from wellspring.observe.lineage import Lineage
    from wellspring.observe.metrics import Metrics
    from wellspring.trust.ledger.journal import Journal

LONGEST = 200
"""Characters of the longest text that a fact may be: names, codes, digests and tokens fit, a data row does not."""
LARGEST = 2**53 - 1
"""The largest whole number that canonical JSON (RFC 8785) can hold; larger ones (snapshot ids) go as text."""
OURS = frozenset({"error", "verdict"})
"""Facts that only this file writes: how a step ended."""


class Steps:
    """Opens steps for one service, and writes what each one did.

    The ledger entry comes first, and is durable before anything else is told: if it cannot be written, the act is
    refused (Unavailable or Broken goes to the caller; the body of an intent step never runs). A metric or lineage
    event that cannot be written after it raises Unavailable, and the entry stays; doing the step again is safe.
    A step opened inside another shares its trace. actor: who acts, as the identity server knows it
    (`service:worker`). tenant: for whom, on every entry. crash_at: the crash point to die at.
    """

    def __init__(
        self,
        *,
        service: str,
        actor: str,
        tenant: str,
        journal: Journal,
        metrics: Metrics,
        lineage: Lineage,
        clock: Clock,
        crash_at: str | None,
    ) -> None:
        self.service = service
        self.actor = actor
        self.tenant = tenant
        self._pen = _Pen(service, actor, journal, metrics, lineage, clock)
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
    ) -> OpenStep:
        """Open a step. Raises ValueError at once for facts that no entry may hold (see `check`)."""
        return OpenStep(self._pen, action, subject, inputs=inputs, outputs=outputs, intent=intent, facts=facts or {})

    def settle(self, action: str, subject: str, intent: str, *, facts: dict[str, JsonValue] | None = None) -> None:
        check(facts or {})
        entry = self._pen.record(action, "done", subject, intent=intent, facts=facts or {}, trace=self._pen.trace_now())
        self._pen.tell(entry, seconds=None, started=None)

    def answers(
        self,
        action: str,
        subject: str,
        *,
        inputs: Iterable[Ref] = (),
        outputs: Iterable[Ref] = (),
        facts: dict[str, JsonValue] | None = None,
        seconds: float | None = None,
    ) -> str:
        """Journal one answer, durably, and return its entry's id. Raises what a step raises: then nothing is answered.

        Metrics and lineage are views of what is journalled, and on the hot path they are told together.
        """
        check(facts or {})
        entry = self._pen.record(
            action,
            "done",
            subject,
            intent=None,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            facts=facts or {},
            trace=self._pen.trace_now(),
        )
        self._pen.tally(entry, seconds)
        return entry.id

    def close(self) -> None:
        """Write what was counted and not yet told. Steps may go on after it."""
        self._pen.flush()

    def reached(self, point: str) -> None:
        """Die here, as by a power cut, if this is the crash point that a crash test named."""
        if point == self._crash_at:
            os.kill(os.getpid(), signal.SIGKILL)


class OpenStep:
    """One step, inside its `with`: the Act that the body sees. Used once."""

    def __init__(
        self,
        pen: _Pen,
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
        self._pen = pen
        self._action = action
        self._subject = subject
        self._inputs = list(inputs)
        self._outputs = list(outputs)
        self._intent = intent
        self._facts: dict[str, JsonValue] = {}
        self._token: Token[str | None] | None = None
        self._begun = 0.0
        self._started: str | None = None
        self.note(**facts)

    def note(self, **facts: JsonValue) -> None:
        """Add facts to the entry. Raises ValueError for what no entry may hold (see `check`)."""
        check(facts)
        if taken := OURS & facts.keys():
            raise ValueError(f"{', '.join(sorted(taken))}: how a step ended is written by the step itself")
        self._facts.update(facts)

    def reads(self, *refs: Ref) -> None:
        self._inputs.extend(refs)

    def writes(self, *refs: Ref) -> None:
        self._outputs.extend(refs)

    def __enter__(self) -> OpenStep:
        self.trace = self._pen.trace_now()
        self._begun = time.perf_counter()
        self._started = stamp(self._pen.clock.now())
        if self._intent:
            entry = self._record("intent", {})
            self.id = entry.id
            try:
                self._pen.tell(entry, seconds=None, started=self._started)
            except Unavailable as wrong:
                # The body will not run, so its intent must not stay open for recovery to wonder about.
                self._record("failed", {"error": type(wrong).__name__})
                raise
            self._started = None
        self._token = self._pen.trace.set(self.trace)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trail: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._begun
        if self._token is not None:
            self._pen.trace.reset(self._token)
        entry = self._record(*_ending(problem))
        try:
            self._pen.tell(entry, seconds=seconds, started=self._started)
        except Unavailable as wrong:
            if problem is None:
                raise
            # What went wrong in the body is the news that the caller acts on.
            problem.add_note(wrong.what)

    def _record(self, phase: Phase, ending: dict[str, JsonValue]) -> Entry:
        return self._pen.record(
            self._action,
            phase,
            self._subject,
            intent=self.id or None,
            inputs=tuple(self._inputs),
            outputs=tuple(self._outputs),
            facts={**self._facts, **ending},
            trace=self.trace,
        )


class _Pen:
    """What a step writes with: the entry first, the rest after it."""

    def __init__(
        self, service: str, actor: str, journal: Journal, metrics: Metrics, lineage: Lineage, clock: Clock
    ) -> None:
        self.clock = clock
        # Of this one house: two projects in one process do not share a trace.
        self.trace: ContextVar[str | None] = ContextVar("wellspring.trace", default=None)
        self._service = service
        self._actor = actor
        self._journal = journal
        self._metrics = metrics
        self._lineage = lineage

    def trace_now(self) -> str:
        """Return the trace of the step that we are inside of, else a new one (W3C: 32 hex digits)."""
        return self.trace.get() or secrets.token_hex(16)

    def record(
        self,
        action: str,
        phase: Phase,
        subject: str,
        *,
        intent: str | None,
        facts: dict[str, JsonValue],
        trace: str,
        inputs: tuple[Ref, ...] = (),
        outputs: tuple[Ref, ...] = (),
    ) -> Entry:
        """Write the ledger entry, durably. Raises Unavailable or Broken: then the act is refused."""
        try:
            return self._journal.append(
                actor=self._actor,
                action=action,
                phase=phase,
                subject=subject,
                intent=intent,
                inputs=inputs,
                outputs=outputs,
                facts=facts,
                trace=trace,
            )
        except OSError as wrong:
            raise Unavailable(
                f"the journal of {self._service} cannot be written ({type(wrong).__name__}), so {action} is refused",
                fix="free the disk or mend the folder's owner, then run the command again",
            ) from wrong

    def tell(self, entry: Entry, *, seconds: float | None, started: str | None) -> None:
        """Write metric and lineage of an entry that is already durable. started: when START was not yet told."""
        try:
            if entry.phase != "intent":
                self._metrics.count(entry.action, entry.phase, seconds)
            self._lineage.write(entry, started=started)
        except OSError as wrong:
            raise _untold(entry, wrong) from wrong

    def tally(self, entry: Entry, seconds: float | None) -> None:
        """Count an answer in memory, and tell of it together with those around it."""
        try:
            self._metrics.tally(entry.action, entry.phase, seconds, at=entry.known_since)
            self._lineage.sample(entry)
        except OSError as wrong:
            raise _untold(entry, wrong) from wrong

    def flush(self) -> None:
        """Write the metrics that are in memory only. A disk that takes them no more loses a view, no fact."""
        try:
            self._metrics.flush()
        except OSError:
            return


def _untold(entry: Entry, wrong: OSError) -> Unavailable:
    return Unavailable(
        f"{entry.action} is in the ledger as {entry.id}, but its metric or lineage event could not be written "
        f"({type(wrong).__name__})",
        fix="free the disk or mend the folder's owner, then run the command again; nothing is done twice",
    )


def _ending(problem: BaseException | None) -> tuple[Phase, dict[str, JsonValue]]:
    """Say how a step ended, without a word of the exception's text: it may quote the data it choked on."""
    if problem is None:
        return "done", {}
    if not isinstance(problem, Refused):
        return "failed", {"error": type(problem).__name__}
    verdict = problem.verdict
    if verdict is None:
        return "refused", {"error": type(problem).__name__}
    # Codes and counts only: the name of an undeclared column comes from the file, and may be a person's.
    reasons: list[JsonValue] = [{"code": reason.code, "count": reason.count} for reason in verdict.reasons]
    return "refused", {
        "error": type(problem).__name__,
        "verdict": {"outcome": verdict.outcome, "reasons": reasons},
    }


def check(facts: JsonValue, *, where: str = "facts") -> None:
    """Raise ValueError unless facts are whole numbers, short texts, bools, nulls, and lists and maps of those.

    Floats have no canonical text that everyone agrees on; text over 200 characters is data, not a fact about data.
    """
    match facts:
        case None | bool():
            return
        case int():
            if abs(facts) > LARGEST:
                raise ValueError(f"{where}: a whole number beyond 2^53 is written as text")
        case str():
            if len(facts) > LONGEST:
                raise ValueError(f"{where}: a text of {len(facts)} characters; a fact has at most {LONGEST}")
        case list():
            for number, one in enumerate(facts):
                check(one, where=f"{where}[{number}]")
        case dict():
            for name, one in facts.items():
                # A map that came from elsewhere may hold numbers as names, whatever its type says.
                if type(name) is not str or not re.fullmatch(r"[A-Za-z0-9_.:@/-]{1,100}", name):
                    raise ValueError(f"{where}: a fact's name is a word, of at most 100 characters")
                check(one, where=f"{where}.{name}")
        case _:
            raise ValueError(f"{where}: {type(facts).__name__} cannot be a fact; use whole numbers, text, bool or null")
