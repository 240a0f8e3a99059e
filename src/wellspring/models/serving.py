"""What one process serves of each model: the release that is pointed to, loaded whole, and changed in one move."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from wellspring.errors import Broken, NotFound, ProjectError, Refused, Unavailable, WellspringError
from wellspring.models.predict import Scorer
from wellspring.models.release import Releases, pinned
from wellspring.project import nearest
from wellspring.records.clock import Clock
from wellspring.records.data import Contract, View, Views
from wellspring.records.models import Release
from wellspring.records.observe import Step
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.approvals import Ledger, approved

AGAIN = timedelta(seconds=2)
"""After this long a release is tried again that could not be loaded because something did not answer."""
Domains = Mapping[str, frozenset[str]]
"""By name of a key column: the token domains that the contracts give to columns of that name."""


class Served(NamedTuple):
    """A release in memory. views: all of the definitions that it was approved with.

    domains: of its key columns' tokens. instead_of: the release (`release:ID`) that should answer and could not be
    loaded; each line says it, so that an answer of the one before it can be proved.
    """

    release: Release
    scorer: Scorer
    views: Views
    domains: Domains
    instead_of: str = ""

    @property
    def wanted(self) -> tuple[View, ...]:
        """The views that the model reads, by name."""
        found = [self.views.view(name) for name in sorted(self.scorer.recipe.keys)]
        return tuple(each for each in found if each is not None)


def load(
    release: Release,
    *,
    scorer: Callable[[Release], Scorer],
    views: Callable[[Digest], Views],
    domains: Callable[[], Domains],
) -> Served:
    """Load a release whole, and hold it against its views and the contracts. scorer: loads what its model is.

    A promotion asks by this too: what could not be served is never pointed to. Raises Broken, ProjectError for a key
    column whose tokens no contract describes, and whatever the three raise.
    """
    served = Served(release, scorer(release), views(release.views), domains())
    for each in served.scorer.recipe.features:
        view = served.views.view(each.view)
        feature = view.feature(each.name) if view is not None else None
        if view is None or feature is None or feature.type != each.type:
            raise Broken(f"{release.subject} has no feature {each.name} in its views", fix="do not serve it")
        if served.scorer.recipe.keys.get(view.name) != view.keys:
            raise Broken(f"{release.subject} finds {view.name} by other keys than its views", fix="do not serve it")
    for view in served.wanted:
        known_keys(view, served.domains)
    # Everything is in memory and has run once, before anybody is answered by it.
    served.scorer.score({})
    return served


def domains(contracts: Iterable[Contract]) -> Domains:
    """Say which token domains the contracts give to columns, by the column's name."""
    found: dict[str, set[str]] = {}
    for column in (column for each in contracts for column in each.columns if column.domain):
        found.setdefault(column.name, set()).add(str(column.domain))
    return {name: frozenset(each) for name, each in found.items()}


def known_keys(view: View, domains: Domains) -> None:
    """Raise ProjectError for a key column of which no contract says what its tokens are: any token would pass."""
    for column in view.keys:
        if not domains.get(column):
            raise ProjectError(
                f"the key {column} of {view.name} has no token domain: no contract has a token column of that name",
                fix="name the key column in the dbt models and in the views as the contract does",
            )


class _Slot(NamedTuple):
    """moved: the write of the pointer that was looked at last. trouble: why its release is not the one served."""

    moved: tuple[int, int] | None
    served: Served | None
    trouble: WellspringError | None = None
    again: datetime | None = None


class Shelf:
    """Holds the releases of one process. Safe for threads; `peek` costs one stat.

    load: the `load` of this file, bound. A release that cannot be loaded leaves the one before it in place, is told in
    `troubles` and in the lines of the answers given meanwhile, and recorded.
    """

    def __init__(
        self,
        releases: Releases,
        *,
        load: Callable[[Release], Served],
        index: Ledger,
        step: Step,
        clock: Clock,
    ) -> None:
        self.releases = releases
        self._load = load
        self._index = index
        self._step = step
        self._clock = clock
        self._turn = threading.Lock()
        self._slots: dict[str, _Slot] = {}

    @property
    def troubles(self) -> dict[str, WellspringError]:
        """Say of which models another release than the pointed one is served, or none, and why."""
        return {model: slot.trouble for model, slot in self._slots.items() if slot.trouble is not None}

    @property
    def held(self) -> dict[str, Served]:
        """What is in memory, by model."""
        return {model: slot.served for model, slot in self._slots.items() if slot.served is not None}

    def peek(self, model: str) -> Served | None:
        """Return what serves a model, if the pointer has not moved since; None: call `get`."""
        slot = self._slots.get(model)
        if slot is None or slot.served is None or slot.moved != self.releases.moved(model):
            return None
        return None if slot.again is not None and self._clock.now() >= slot.again else slot.served

    def get(self, model: str) -> Served:
        """Return what serves a model, loading it where the pointer has moved.

        Raises NotFound with the nearest name for a model of which nothing is live, and what kept its first release
        from being loaded.
        """
        with self._turn:
            served = self.peek(model)
            if served is not None:
                return served
            moved = self.releases.moved(model)
            if moved is None:
                raise NotFound("no such model is served", fix=nearest(model, list(self.releases.models())))
            slot = self._slots.get(model, _Slot(None, None))
            if slot.trouble is None or slot.moved != moved or (slot.again and self._clock.now() >= slot.again):
                slot = self._slots[model] = self._next(model, moved, slot)
            if slot.served is None:
                assert slot.trouble is not None
                raise slot.trouble
            return slot.served

    def _next(self, model: str, moved: tuple[int, int], slot: _Slot) -> _Slot:
        pointed = ""
        try:
            pointed = self.releases.pointed(model)
            if not pointed:
                raise NotFound(f"nothing is live of {model}", fix="approve a release")
            release = self.releases.get(pointed)
            with self._step("serve", release.subject, inputs=[pinned(release)], facts={"model": model}) as act:
                act.reads(Ref(name=f"artefact:{model}", digest=release.artefact))
                served = self._loaded(release)
        except (Unavailable, ProjectError) as wrong:
            # What may be mended without another release is tried again.
            return _Slot(moved, _former(slot.served, pointed), wrong, self._clock.now() + AGAIN)
        except WellspringError as wrong:
            return _Slot(moved, _former(slot.served, pointed), wrong)
        return _Slot(moved, served)

    def _loaded(self, release: Release) -> Served:
        """Load a release whole. Raises Refused for one that no two people stand behind."""
        if approved(self._index, release) is None:
            reason = Reason(code="not_approved", what="no two people stand behind it")
            verdict = Verdict(subject=release.subject, outcome="fail", reasons=(reason,))
            raise Refused(f"{release.subject} is not approved", fix="do not serve it", verdict=verdict)
        return self._load(release)


def _former(served: Served | None, pointed: str) -> Served | None:
    """Let what served before go on, and say instead of what."""
    named = f"release:{pointed}" if re.fullmatch(r"[0-9a-f]{12}", pointed) else ""
    return served._replace(instead_of=named) if served is not None else None
