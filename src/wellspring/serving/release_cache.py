"""What one process serves of each model: the release that is pointed to, loaded whole, and changed in one move."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from wellspring.errors import CorruptedError, NotFound, ProjectError, Refused, Unavailable, WellspringError
from wellspring.models.releases.promotion import ReleaseStore, build_release_ref
from wellspring.project import suggest_name
from wellspring.records.clock import Clock
from wellspring.records.data import DataContract, FeatureViews, FeatureViewSpec
from wellspring.records.models import Release
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.serving.scorer import Scorer
from wellspring.trust.approvals import LedgerEntries, find_approval

RETRY_AFTER = timedelta(seconds=2)
"""After this long a release is tried again that could not be loaded because something did not answer."""
TokenDomains = Mapping[str, frozenset[str]]
"""By name of a key column: the token domains that the contracts give to columns of that name."""


class LoadedRelease(NamedTuple):
    """A release in memory. views: all of the definitions that it was approved with.

    domains: of its key columns' tokens. instead_of: the release (`release:ID`) that should answer and could not be
    loaded; each line says it, so that an answer of the one before it can be proved.
    """

    release: Release
    scorer: Scorer
    views: FeatureViews
    token_domains: TokenDomains
    superseded_by: str = ""

    @property
    def views_used(self) -> tuple[FeatureViewSpec, ...]:
        """The views that the model reads, by name."""
        views = [self.views.find_view(name) for name in sorted(self.scorer.spec.keys)]
        return tuple(view for view in views if view is not None)


def load_release(
    release: Release,
    *,
    scorer: Callable[[Release], Scorer],
    views: Callable[[Digest], FeatureViews],
    token_domains: Callable[[], TokenDomains],
) -> LoadedRelease:
    """Load a release whole, and hold it against its views and the contracts. scorer: loads what its model is.

    A promotion asks by this too: what could not be served is never pointed to. Raises Broken, ProjectError for a key
    column whose tokens no contract describes, and whatever the three raise.
    """
    served = LoadedRelease(release, scorer(release), views(release.views), token_domains())
    for feature_input in served.scorer.spec.features:
        view = served.views.find_view(feature_input.view)
        feature = view.find_feature(feature_input.name) if view is not None else None
        if view is None or feature is None or feature.type != feature_input.type:
            raise CorruptedError(
                f"{release.subject} has no feature {feature_input.name} in its views", fix="do not serve it"
            )
        if served.scorer.spec.keys.get(view.name) != view.keys:
            raise CorruptedError(
                f"{release.subject} finds {view.name} by other keys than its views", fix="do not serve it"
            )
    for view in served.views_used:
        require_token_domains(view, served.token_domains)
    # Everything is in memory and has run once, before anybody is answered by it.
    served.scorer.score({})
    return served


def collect_token_domains(contracts: Iterable[DataContract]) -> TokenDomains:
    """Say which token domains the contracts give to columns, by the column's name."""
    domains_by_column: dict[str, set[str]] = {}
    for column in (column for contract in contracts for column in contract.columns if column.domain):
        domains_by_column.setdefault(column.name, set()).add(str(column.domain))
    return {name: frozenset(item) for name, item in domains_by_column.items()}


def require_token_domains(view: FeatureViewSpec, token_domains: TokenDomains) -> None:
    """Raise ProjectError for a key column of which no contract says what its tokens are: any token would pass."""
    for column in view.keys:
        if not token_domains.get(column):
            raise ProjectError(
                f"the key {column} of {view.name} has no token domain: no contract has a token column of that name",
                fix="name the key column in the dbt models and in the views as the contract does",
            )


class _CacheEntry(NamedTuple):
    """moved: the write of the pointer that was looked at last. trouble: why its release is not the one served."""

    pointer_version: tuple[int, int] | None
    served: LoadedRelease | None
    error: WellspringError | None = None
    retry_at: datetime | None = None


class ReleaseCache:
    """Holds the releases of one process. Safe for threads; `peek` costs one stat.

    load: the `load` of this file, bound. A release that cannot be loaded leaves the one before it in place, is told in
    `troubles` and in the lines of the answers given meanwhile, and recorded.
    """

    def __init__(
        self,
        release_store: ReleaseStore,
        *,
        load_release: Callable[[Release], LoadedRelease],
        index: LedgerEntries,
        step: Recorder,
        clock: Clock,
    ) -> None:
        self.release_store = release_store
        self._load_release = load_release
        self._index = index
        self._step = step
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _CacheEntry] = {}

    @property
    def load_errors(self) -> dict[str, WellspringError]:
        """Say of which models another release than the pointed one is served, or none, and why."""
        return {model: entry.error for model, entry in self._entries.items() if entry.error is not None}

    @property
    def loaded(self) -> dict[str, LoadedRelease]:
        """What is in memory, by model."""
        return {model: entry.served for model, entry in self._entries.items() if entry.served is not None}

    def peek(self, model: str) -> LoadedRelease | None:
        """Return what serves a model, if the pointer has not moved since; None: call `get`."""
        entry = self._entries.get(model)
        if entry is None or entry.served is None or entry.pointer_version != self.release_store.live_version(model):
            return None
        return None if entry.retry_at is not None and self._clock.now() >= entry.retry_at else entry.served

    def get(self, model: str) -> LoadedRelease:
        """Return what serves a model, loading it where the pointer has moved.

        Raises NotFound with the nearest name for a model of which nothing is live, and what kept its first release
        from being loaded.
        """
        with self._lock:
            served = self.peek(model)
            if served is not None:
                return served
            pointer_version = self.release_store.live_version(model)
            if pointer_version is None:
                raise NotFound(
                    "no such model is served", fix=suggest_name(model, list(self.release_store.live_models()))
                )
            entry = self._entries.get(model, _CacheEntry(None, None))
            if (
                entry.error is None
                or entry.pointer_version != pointer_version
                or (entry.retry_at and self._clock.now() >= entry.retry_at)
            ):
                entry = self._entries[model] = self._load_entry(model, pointer_version, entry)
            if entry.served is None:
                assert entry.error is not None
                raise entry.error
            return entry.served

    def _load_entry(self, model: str, pointer_version: tuple[int, int], entry: _CacheEntry) -> _CacheEntry:
        live_id = ""
        try:
            live_id = self.release_store.live_id(model)
            if not live_id:
                raise NotFound(f"nothing is live of {model}", fix="approve a release")
            release = self.release_store.get(live_id)
            with self._step(
                "serve", release.subject, inputs=[build_release_ref(release)], facts={"model": model}
            ) as act:
                act.add_inputs(Ref(name=f"artifact:{model}", digest=release.artifact))
                served = self._load_approved(release)
        except (Unavailable, ProjectError) as exc:
            # What may be mended without another release is tried again.
            return _CacheEntry(
                pointer_version, _keep_previous(entry.served, live_id), exc, self._clock.now() + RETRY_AFTER
            )
        except WellspringError as exc:
            return _CacheEntry(pointer_version, _keep_previous(entry.served, live_id), exc)
        return _CacheEntry(pointer_version, served)

    def _load_approved(self, release: Release) -> LoadedRelease:
        """Load a release whole. Raises Refused for one that no two people stand behind."""
        if find_approval(self._index, release) is None:
            reason = Reason(code="not_approved", message="no two people stand behind it")
            verdict = Verdict(subject=release.subject, outcome="fail", reasons=(reason,))
            raise Refused(f"{release.subject} is not approved", fix="do not serve it", verdict=verdict)
        return self._load_release(release)


def _keep_previous(served: LoadedRelease | None, live_id: str) -> LoadedRelease | None:
    """Let what served before go on, and say instead of what."""
    superseded_by = f"release:{live_id}" if re.fullmatch(r"[0-9a-f]{12}", live_id) else ""
    return served._replace(superseded_by=superseded_by) if served is not None else None
