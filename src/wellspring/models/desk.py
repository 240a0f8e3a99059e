"""Where questions are answered: policy, rows in one round trip, score, a durable line, and only then the answer.

What waits for a disk or a core runs on threads of its own; the event loop only reads and hands on.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple, TypeVar

from pydantic import JsonValue

from wellspring.data import editions
from wellspring.data.freshness import state
from wellspring.errors import NotFound, ProjectError, Refused, Unavailable, WellspringError
from wellspring.models import answer as answers
from wellspring.models.answer import Knowledge, Rows
from wellspring.models.serving import Domains, Served, Shelf
from wellspring.project import nearest
from wellspring.records.clock import Clock
from wellspring.records.data import FeatureRow, View, Views
from wellspring.records.models import Prediction
from wellspring.records.observe import Step
from wellspring.records.record import Digest, stamp
from wellspring.records.trust import Ref
from wellspring.stores.online import Live, OnlineReader
from wellspring.trust import policy
from wellspring.trust.decide import Refusals, demand
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import Policies, Resource
from wellspring.trust.promise import Promises
from wellspring_verify import promise

THREADS = 32
_ANYTHING = FeatureRow("", (), {}, datetime(1970, 1, 1, tzinfo=UTC), 0, "")
T = TypeVar("T")


class Law:
    """The policies as they stand in the project's folder: looked at once a second, parsed again where they changed.

    One that cannot be read or does not parse leaves the former ones in force, is told in `trouble`, and tried again.
    """

    def __init__(self, folder: Path | None, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._seen = self._look()
        self._at = clock.now()
        self._now = policy.load(folder)
        self.trouble: ProjectError | None = None

    def now(self) -> Policies:
        """Return what is in force."""
        at = self._clock.now()
        if abs(at - self._at) >= timedelta(seconds=1):
            self._at = at
            seen = self._look()
            if seen != self._seen or self.trouble is not None:
                try:
                    self._now, self.trouble = policy.load(self._folder), None
                except ProjectError as wrong:
                    self.trouble = wrong
                self._seen = seen
        return self._now

    def _look(self) -> list[tuple[str, int, int, int]]:
        found = sorted(self._folder.glob("*.cedar")) if self._folder is not None else []
        return [_written(path) for path in found]


@dataclass(frozen=True)
class Ports:
    """What a desk works with. reader: opens the online store for the views of one definition.

    domains: reads the contracts; asked once for each definition, and for each release that is loaded.
    """

    project: str
    shelf: Shelf
    law: Law
    promises: Promises
    editions: editions.Editions
    views: Callable[[Digest], Views]
    reader: Callable[[Views], OnlineReader]
    domains: Callable[[], Domains]
    step: Step
    clock: Clock


class Answered(NamedTuple):
    """A promised answer, and its line in the ledger."""

    prediction: Prediction
    entry: str


class Told(NamedTuple):
    """Features as they are known of one thing."""

    view: str
    values: Mapping[str, JsonValue]
    known_since: datetime
    knowledge: Knowledge
    entry: str


class Desk:
    """Answers the questions of one process. Its methods are awaited on one event loop."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="answer")
        self._readers: dict[Digest, OnlineReader] = {}
        self._defined: dict[Digest, Views] = {}
        self._domains: dict[Digest, Domains] = {}
        self._digests: dict[str, Digest] = {}
        self._compared: set[tuple[str, Digest]] = set()
        self._refusals = Refusals(ports.clock)
        self._live: Live | None = None

    async def begin(self) -> None:
        """Make the first key known, load what is live, and look once into the online store.

        Raises Unavailable when the journal cannot be written; what cannot be loaded now is told in `health`.
        """
        await self._thread(self._ports.promises.key)
        for model in self._ports.shelf.releases.models():
            try:
                await self._served(model)
            except WellspringError:
                # Kept in the shelf's troubles, and in the ledger; the process answers for the other models.
                continue
        try:
            await self._marker()
        except WellspringError:
            return

    async def close(self) -> None:
        """Let go of the online store, after the answers under way."""
        for reader in self._readers.values():
            await reader.close()
        self._threads.shutdown()

    async def predict(self, model: str, given: Mapping[str, str], *, reasons: bool, by: Principal) -> Answered:
        """Answer for one thing. given: its tokens by key column.

        Raises NotFound, Refused, Unavailable, Broken: then there is no answer, and nothing of what was given is said.
        """
        begun = time.perf_counter()
        served = await self._served(model)
        law = self._allowed(by, "predict", Resource(f"model:{model}"))
        views = served.wanted
        try:
            asked = answers.wanted(views, given, served.domains)
            live, rows = await self._reader(served.views).look(asked)
            live = self._named(live)
            self._same_meaning(served, live)
            found = {view.name: row for view, row in zip(views, rows, strict=True)}
            return await self._thread(self._finish, served, live, found, given, reasons, by, law, begun)
        except Refused as wrong:
            await self._thread(self._note, "predict", f"model:{model}", wrong, by, law)
            raise

    async def features(self, name: str, key: Sequence[str], *, by: Principal) -> Told:
        """Tell the features of one thing. key: tokens, in the order of the view's keys."""
        begun = time.perf_counter()
        views = self._views((await self._marker()).views)
        view = views.view(name)
        if view is None:
            raise NotFound("no such view is served", fix=nearest(name, [each.name for each in views.views]))
        law = self._allowed(by, "read_features", Resource(f"view:{name}"))
        try:
            if len(key) != len(view.keys):
                keys = ", ".join(view.keys)
                raise answers.no("missing_key", f"{name} has the keys {keys}", fix="bring one token for each, in order")
            asked = answers.wanted((view,), dict(zip(view.keys, key, strict=True)), await self._tokens(views))
            live, rows = await self._reader(views).look(asked)
            live = self._as_defined(view, self._named(live))
            return await self._thread(self._tell, view, live, {name: rows[0]}, by, law, begun)
        except Refused as wrong:
            await self._thread(self._note, "read_features", f"view:{name}", wrong, by, law)
            raise

    async def describe(self, model: str, *, by: Principal) -> dict[str, JsonValue]:
        """Say what a model needs to be asked, what serves it, and how old its knowledge is."""
        served = await self._served(model)
        self._allowed(by, "predict", Resource(f"model:{model}"))
        live = await self._marker()
        judged, age = state(
            {view.name: _ANYTHING for view in served.wanted}, served.wanted, live.as_of, self._ports.clock.now()
        )
        trouble = self._ports.shelf.troubles.get(model)
        return {
            "model": model,
            "release": served.release.id,
            "trained_on": served.release.edition,
            "edition": live.edition,
            "keys": list(served.scorer.keys),
            "threshold": served.release.threshold,
            "labels": list(served.release.labels),
            "state": judged,
            "as_of": stamp(live.as_of),
            "age_seconds": age,
            "trouble": trouble.what if trouble is not None else None,
        }

    def health(self) -> dict[str, JsonValue]:
        """Say what is served, and what is not as it should be."""
        shelf, law = self._ports.shelf, self._ports.law
        troubles = {model: wrong.what for model, wrong in shelf.troubles.items()}
        return {
            "status": "degraded" if troubles or law.trouble else "ok",
            "models": {model: served.release.id for model, served in shelf.held.items()},
            "troubles": {**troubles},
            "policies": {"digest": law.now().digest, "trouble": law.trouble.what if law.trouble else None},
        }

    # --- inside ---------------------------------------------------------------------------------------------------

    def _finish(
        self,
        served: Served,
        live: Live,
        rows: Rows,
        given: Mapping[str, str],
        reasons: bool,
        by: Principal,
        law: Policies,
        begun: float,
    ) -> Answered:
        """Score, journal, promise; in this order, on a thread."""
        ports = self._ports
        at = ports.clock.now()
        knowledge = self._known(live, rows, served.wanted, at)
        self._stale(knowledge, by, "predict", Resource(f"model:{served.release.model}"), law)
        scored = served.scorer.score(rows, reasons=reasons)
        key = ports.promises.key()
        made = answers.answer(served, scored, knowledge, prediction=token_hex(10), given=given, at=at)
        text = promise.text(made.model_dump(mode="json"))
        line = answers.line(made, text, served, knowledge, key=key.id, by=by.name, policy=law.digest)
        entry = self._journalled("predict", line, begun)
        promised = key.promise(text)
        return Answered(made.model_copy(update={"promise": promised}), entry)

    def _tell(self, view: View, live: Live, rows: Rows, by: Principal, law: Policies, begun: float) -> Told:
        knowledge = self._known(live, rows, (view,), self._ports.clock.now())
        self._stale(knowledge, by, "read_features", Resource(f"view:{view.name}"), law)
        row = rows[view.name]
        assert row is not None
        facts: dict[str, JsonValue] = {
            "by": by.name,
            "policy": law.digest,
            "state": knowledge.state,
            "views": {view.name: answers.told(row)},
        }
        edition = Ref(name=knowledge.edition.subject, digest=knowledge.digest)
        entry = self._journalled("read_features", answers.Line(f"view:{view.name}", (edition,), (), facts), begun)
        values = {name: _plain(value) for name, value in row.values.items()}
        return Told(view.name, values, row.known_since, knowledge, entry)

    def _journalled(self, action: str, line: answers.Line, begun: float) -> str:
        took = time.perf_counter() - begun
        return self._ports.step.answers(
            action, line.subject, inputs=line.inputs, outputs=line.outputs, facts=line.facts, seconds=took
        )

    def _known(self, live: Live, rows: Rows, views: tuple[View, ...], now: datetime) -> Knowledge:
        kept = self._ports.editions
        edition = kept.get(live.edition)
        if edition.id not in self._digests:
            self._digests[edition.id] = editions.digest(edition)
        knowledge = answers.known(rows, views, edition, self._digests[edition.id], live.as_of, now)
        named = {row.edition for row in rows.values() if row is not None}
        return answers.older(knowledge, {each: kept.get(each).known_since for each in named})

    def _allowed(self, by: Principal, action: str, resource: Resource) -> Policies:
        """Ask the policies, and return those that were asked. Raises Refused; the refusal is recorded."""
        law = self._ports.law.now()
        demand(law, by, action, resource, step=self._ports.step, hot=True, refusals=self._refusals)
        return law

    def _stale(self, knowledge: Knowledge, by: Principal, action: str, resource: Resource, law: Policies) -> None:
        """Ask once more when what is known is not fresh, as policies may forbid to answer from it. law: as at first,
        for the line names those."""
        if knowledge.state == "fresh" or "state?" not in policy.SCHEMA:
            return
        context: dict[str, JsonValue] = {"state": knowledge.state}
        demand(law, by, action, resource, context, step=self._ports.step, hot=True, refusals=self._refusals)

    def _note(self, action: str, subject: str, wrong: Refused, by: Principal, law: Policies) -> None:
        """Record a refusal that no policy made, by its code alone; many of one kind are one entry a second."""
        if wrong.verdict is None or wrong.verdict.outcome == "fail":
            return
        code = wrong.verdict.reasons[0].code
        before = self._refusals.before(by.name, f"{action} {code}")
        if before is None:
            return
        facts: dict[str, JsonValue] = {"by": by.name, "policy": law.digest, "before": before}
        try:
            with self._ports.step(action, subject, facts=facts):
                raise wrong
        except Refused:
            return

    def _same_meaning(self, served: Served, live: Live) -> None:
        """Hold a release against each definition that a row online may be of: what is live, and what is coming."""
        for digest in (live.views, *live.coming):
            pair = served.release.id, digest
            if digest != served.release.views and pair not in self._compared:
                answers.compatible(served, self._views(digest))
                self._compared.add(pair)

    def _as_defined(self, view: View, live: Live) -> Live:
        """Raise Unavailable while a row may be of another definition of its view than the one that it was read by."""
        if any(self._views(digest).view(view.name) != view for digest in (live.views, *live.coming)):
            raise Unavailable(
                f"{view.name} is being defined anew",
                fix="ask again when its rows are online; should that not end, run `wellspring transform`",
            )
        return live

    def _named(self, live: Live | None) -> Live:
        if live is None:
            raise Unavailable("no edition is in the online store yet", fix="ask again when one has been put there")
        self._live = live
        return live

    async def _marker(self) -> Live:
        """Say what is live online, asking the store."""
        known = self._views(self._live.views) if self._live is not None else Views(
            project=self._ports.project, views=(), digest=""
        )  # fmt: skip
        return self._named(await self._reader(known).live())

    def _views(self, digest: Digest) -> Views:
        if digest not in self._defined:
            self._defined[digest] = self._ports.views(digest)
        return self._defined[digest]

    async def _tokens(self, views: Views) -> Domains:
        if views.digest not in self._domains:
            self._domains[views.digest] = await self._thread(self._ports.domains)
        return self._domains[views.digest]

    def _reader(self, views: Views) -> OnlineReader:
        if views.digest not in self._readers:
            self._readers[views.digest] = self._ports.reader(views)
        return self._readers[views.digest]

    async def _served(self, model: str) -> Served:
        return self._ports.shelf.peek(model) or await self._thread(self._ports.shelf.get, model)

    async def _thread(self, act: Callable[..., T], *given: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, act, *given)


def _written(path: Path) -> tuple[str, int, int, int]:
    """Say by which write a file is as it is, and by which change of who may read it; its name alone if nobody can."""
    try:
        told = path.stat()
    except OSError:
        # Gone, or out of reach, since it was listed: what comes of it, reading it will say.
        return path.name, -1, -1, -1
    return path.name, told.st_mtime_ns, told.st_ctime_ns, told.st_size


def _plain(value: float | str | None) -> JsonValue:
    """Write a value as JSON can: it has no number that is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
