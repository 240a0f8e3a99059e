"""What one process serves of each model: the release that is pointed to, loaded whole, and changed in one move."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from wellspring.errors import Broken, NotFound, Refused, Unavailable, WellspringError
from wellspring.models.predict import Scorer
from wellspring.models.release import Releases, pinned
from wellspring.project import nearest
from wellspring.records.clock import Clock
from wellspring.records.data import View, Views
from wellspring.records.models import Release
from wellspring.records.observe import Step
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.approvals import Ledger, approved

AGAIN = timedelta(seconds=2)
"""After this long a release is tried again that could not be loaded because something did not answer."""


class Served(NamedTuple):
    """A release in memory. views: all of the definitions that it was approved with."""

    release: Release
    scorer: Scorer
    views: Views

    @property
    def wanted(self) -> tuple[View, ...]:
        """The views that the model reads, by name."""
        found = [self.views.view(name) for name in sorted(self.scorer.recipe.keys)]
        return tuple(each for each in found if each is not None)


class _Slot(NamedTuple):
    """moved: the write of the pointer that was looked at last. trouble: why its release is not the one served."""

    moved: tuple[int, int] | None
    served: Served | None
    trouble: WellspringError | None = None
    again: datetime | None = None


class Shelf:
    """Holds the releases of one process. Safe for threads; `peek` costs one stat.

    load: a release's scorer; views: the definitions of a digest. A release that cannot be loaded leaves the one before
    it in place, is told in `troubles`, and recorded.
    """

    def __init__(
        self,
        releases: Releases,
        *,
        load: Callable[[Release], Scorer],
        views: Callable[[Digest], Views],
        index: Ledger,
        step: Step,
        clock: Clock,
    ) -> None:
        self.releases = releases
        self._load = load
        self._views = views
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
        try:
            release = self.releases.live(model)
            if release is None:
                raise NotFound(f"nothing is live of {model}", fix="approve a release")
            with self._step("serve", release.subject, inputs=[pinned(release)], facts={"model": model}) as act:
                act.reads(Ref(name=f"artefact:{model}", digest=release.artefact))
                served = self._loaded(release)
        except Unavailable as wrong:
            return _Slot(moved, slot.served, wrong, self._clock.now() + AGAIN)
        except WellspringError as wrong:
            return _Slot(moved, slot.served, wrong)
        return _Slot(moved, served)

    def _loaded(self, release: Release) -> Served:
        """Load a release whole. Raises Refused for one that no two people stand behind."""
        if approved(self._index, release) is None:
            reason = Reason(code="not_approved", what="no two people stand behind it")
            verdict = Verdict(subject=release.subject, outcome="fail", reasons=(reason,))
            raise Refused(f"{release.subject} is not approved", fix="do not serve it", verdict=verdict)
        served = Served(release, self._load(release), self._views(release.views))
        for each in served.scorer.recipe.features:
            view = served.views.view(each.view)
            feature = view.feature(each.name) if view is not None else None
            if view is None or feature is None or feature.type != each.type:
                raise Broken(f"{release.subject} has no feature {each.name} in its views", fix="do not serve it")
            if served.scorer.recipe.keys.get(view.name) != view.keys:
                raise Broken(f"{release.subject} finds {view.name} by other keys than its views", fix="do not serve it")
        # Everything is in memory and has run once, before anybody is answered by it.
        served.scorer.score({})
        return served
