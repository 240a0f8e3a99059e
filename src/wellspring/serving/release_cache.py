"""Cache the live release of each model in memory, and switch releases atomically."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from wellspring.errors import (
    CorruptedError,
    NotFound,
    ProjectError,
    Refused,
    Unavailable,
    WellspringError,
    suggest_name,
)
from wellspring.models.releases.deployments import DEPLOYMENT_ACTIONS, find_deployment
from wellspring.models.releases.history import find_live_release, list_switched_models
from wellspring.models.releases.release_context import build_release_ref
from wellspring.models.releases.store import ReleaseStore
from wellspring.records.clock import Clock
from wellspring.records.deployments import Deployment
from wellspring.records.models import Release
from wellspring.records.observe import Recorder
from wellspring.records.trust import ProjectMode, Ref
from wellspring.serving.loaded_release import LoadedDeployment, LoadedRelease
from wellspring.trust.approvals import LedgerEntries, find_approval
from wellspring.trust.modes import MODE_ACTION, find_mode_period

RETRY_AFTER = timedelta(seconds=2)
"""Time after which a release that failed to load for a temporary reason is loaded again."""
CHECK_AFTER = timedelta(seconds=5)
"""Time after which pointer and log are compared again although the pointer has not changed."""
SWITCH_TIME, SWITCH_PAUSE = timedelta(seconds=5), timedelta(milliseconds=200)
"""Time in which the log may follow a pointer that has changed, and the pause between two comparisons in that time."""
PROVED_ACTIONS = (*DEPLOYMENT_ACTIONS, "propose", "approve", "enroll", MODE_ACTION)
"""Actions of the entries that decide what may answer."""
_RETRIED_ERRORS = (Unavailable, ProjectError)
"""Errors that can be corrected without a new release."""
_RELEASE_ID = re.compile(r"[0-9a-f]{12}")


class ProvedLog(LedgerEntries, Protocol):
    """The switches, proposals, approvals and enrollments of the log, all of them, proved by its signed checkpoint."""

    def refresh(self) -> None:
        """Read what the log has gained. Raises CorruptedError for a log that does not match its checkpoint."""
        ...


class _CacheEntry(NamedTuple):
    """pointer_version: the last checked version of the live pointer and the challenger's file. error: why the live
    release is not the loaded one.

    check_at: when pointer and log are compared again. parted_since: since when the pointer names another release than
    the log, of which no switch is recorded. failed: the release that could not be loaded.
    """

    pointer_version: tuple[int, ...] | None
    served: LoadedRelease | None
    check_at: datetime
    error: WellspringError | None = None
    parted_since: datetime | None = None
    failed: str = ""
    challenger: _Challenger | None = None
    loaded: LoadedDeployment | None = None


class _Challenger(NamedTuple):
    """The challenger of a model, as the log names it. served: None if it could not be loaded, for the error."""

    deployment: Deployment
    served: LoadedRelease | None
    error: WellspringError | None


class ReleaseCache:
    """Cache the loaded releases of one process. Thread-safe; `peek` costs one stat call.

    What may answer is the release of the last completed switch in the proved log; the pointer only shows that a switch
    happened. While a switch is in progress the release before it answers. If the pointer names a release of which the
    log has no switch, the model is refused, after SWITCH_SECONDS in which the log may still follow.

    If a release cannot be loaded, the previous one stays in service; the error is in `load_errors`, in the ledger, and
    (as `superseded_by`) in the ledger record of each prediction.
    """

    def __init__(
        self,
        release_store: ReleaseStore,
        *,
        load_release: Callable[[Release], LoadedRelease],
        log: ProvedLog,
        step: Recorder,
        clock: Clock,
    ) -> None:
        self.release_store = release_store
        self._load_release = load_release
        self._log = log
        self._step = step
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _CacheEntry] = {}

    @property
    def load_errors(self) -> dict[str, WellspringError]:
        """Return, by model, the error that prevents the live release from being served."""
        errors = {model: entry.error for model, entry in self._entries.items() if entry.error is not None}
        for model, entry in self._entries.items():
            if entry.challenger is not None and entry.challenger.error is not None:
                errors.setdefault(f"{model} (challenger)", entry.challenger.error)
        return errors

    @property
    def loaded(self) -> dict[str, LoadedDeployment]:
        """Return the loaded releases by model."""
        loaded = {model: entry.loaded for model, entry in self._entries.items()}
        return {model: deployment for model, deployment in loaded.items() if deployment is not None}

    def read_mode(self) -> ProjectMode:
        """Return the mode of the project, as of the latest comparison with the log."""
        with self._lock:
            return find_mode_period(self._log).mode

    def peek(self, model: str) -> LoadedDeployment | None:
        """Return the loaded releases if the live pointer is unchanged; None means that `get` must compare or load."""
        entry = self._entries.get(model)
        if entry is None or entry.served is None or entry.pointer_version != self.release_store.live_version(model):
            return None
        return None if self._clock.now() >= entry.check_at else entry.loaded

    def get(self, model: str) -> LoadedDeployment:
        """Return the releases that serve a model; load them first if a change has made others answer.

        Raises NotFound with the nearest name for a model without a live release, CorruptedError when pointer and log
        part, and the load error if no release of the model could be loaded.
        """
        with self._lock:
            loaded = self.peek(model)
            if loaded is not None:
                return loaded
            pointer_version = self.release_store.live_version(model)
            entry = self._entries.get(model)
            if pointer_version is None and (entry is None or entry.pointer_version is None):
                raise NotFound(
                    "no such model is served", fix=suggest_name(model, list(self.release_store.live_models()))
                )
            if entry is None or entry.pointer_version != pointer_version or self._clock.now() >= entry.check_at:
                entry = self._entries[model] = self._check_model(model, pointer_version, entry)
            if entry.loaded is None:
                assert entry.error is not None
                raise entry.error
            return entry.loaded

    def check_all(self) -> None:
        """Compare pointer and log of each model that either of them names; `load_errors` has what was found."""
        for model in {*self.release_store.live_models(), *self._list_switched()}:
            with self._lock:
                entry = self._entries.get(model)
                self._entries[model] = self._check_model(model, self.release_store.live_version(model), entry)

    def _list_switched(self) -> list[str]:
        with self._lock:
            try:
                self._log.refresh()
            except WellspringError:
                # Each model that is checked reports it.
                return []
            return list_switched_models(self._log)

    def _check_model(
        self, model: str, pointer_version: tuple[int, ...] | None, entry: _CacheEntry | None
    ) -> _CacheEntry:
        """Check the stable release of a model, then its challenger, which the log alone names."""
        checked = self._check_entry(model, pointer_version, entry)
        challenger = self._check_challenger(model, checked, entry.challenger if entry is not None else None)
        return checked._replace(challenger=challenger, loaded=_combine(checked.served, challenger))

    def _check_challenger(self, model: str, checked: _CacheEntry, previous: _Challenger | None) -> _Challenger | None:
        """Return the challenger that stands beside the loaded release; load it unless it is loaded."""
        if checked.served is None or checked.error is not None:
            return None
        deployment = find_deployment(self._log, model)
        # It was compared with this stable release, and with no other.
        if not deployment.challenger or deployment.stable != checked.served.release.id:
            return None
        if previous is not None and previous.deployment.challenger == deployment.challenger:
            if previous.served is not None or not isinstance(previous.error, _RETRIED_ERRORS):
                return previous._replace(deployment=deployment)
        return self._load_challenger(deployment)

    def _load_challenger(self, deployment: Deployment) -> _Challenger:
        try:
            release = self.release_store.get(deployment.challenger)
            served = self._load_recorded(release)
        except WellspringError as exc:
            return _Challenger(deployment, None, exc)
        return _Challenger(deployment, served, None)

    def _check_entry(
        self, model: str, pointer_version: tuple[int, ...] | None, entry: _CacheEntry | None
    ) -> _CacheEntry:
        """Compare pointer and log, and load the release that the log says is live, unless it is loaded."""
        now = self._clock.now()
        served = entry.served if entry is not None else None
        try:
            self._log.refresh()
            live = find_live_release(self._log, model)
            pointer = self.release_store.live_id(model)
            if served is not None and served.mode != find_mode_period(self._log).mode:
                # What was approved in development does not count any more.
                served = None
        except Unavailable as exc:
            return _CacheEntry(pointer_version, served, now + RETRY_AFTER, exc)
        except WellspringError as exc:
            # The log itself is damaged, so nothing says what may answer.
            return _CacheEntry(pointer_version, None, now + RETRY_AFTER, exc)
        is_switching = pointer in live.unsettled
        parted_since = entry.parted_since if entry is not None else None
        if pointer != live.release and not is_switching:
            parted_since = parted_since or now
            if served is None or served.release.id != live.release or now - parted_since >= SWITCH_TIME:
                error = self._refuse_parted(model, pointer, live.release, entry)
                return _CacheEntry(pointer_version, None, now + SWITCH_PAUSE, error, parted_since)
            return _CacheEntry(pointer_version, served, now + SWITCH_PAUSE, None, parted_since)
        pause = SWITCH_PAUSE if is_switching and pointer != live.release else CHECK_AFTER
        if served is not None and served.release.id == live.release:
            current = served._replace(superseded_by="") if served.superseded_by else served
            return _CacheEntry(pointer_version, current, now + pause)
        if entry is not None and entry.failed == live.release and not self._may_load_now(entry):
            return entry._replace(pointer_version=pointer_version, served=served, check_at=now + pause)
        return self._load_entry(pointer_version, served, live.release, now + pause)

    def _may_load_now(self, entry: _CacheEntry) -> bool:
        """Return whether a release that could not be loaded may have become loadable without another switch."""
        if not isinstance(entry.error, Refused):
            return isinstance(entry.error, _RETRIED_ERRORS)
        # A release of development stays live without an approval until two persons propose and approve it again.
        try:
            return find_approval(self._log, self.release_store.get(entry.failed)) is not None
        except WellspringError:
            return False

    def _refuse_parted(self, model: str, pointer: str, live: str, entry: _CacheEntry | None) -> WellspringError:
        """Return the error of a model whose pointer and log part; the first time, record it."""
        shown = pointer if _RELEASE_ID.fullmatch(pointer) else "no release"
        error = CorruptedError(
            f"the pointer of {model} names {shown}, and the last switch in the log made {live or 'none'} live",
            fix="find out who wrote the pointer; `wellspring ledger verify` names what differs",
        )
        if entry is not None and entry.error is not None and entry.error.what == error.what:
            return entry.error
        subject = f"release:{live}" if live else f"model:{model}"
        try:
            with self._step("serve", subject, facts={"model": model, "pointer": shown}):
                raise error
        except CorruptedError:
            return error

    def _load_entry(
        self, pointer_version: tuple[int, ...] | None, previous: LoadedRelease | None, live_id: str, check_at: datetime
    ) -> _CacheEntry:
        try:
            if not live_id:
                raise NotFound("the model has no live release", fix="approve a release")
            served = self._load_recorded(self.release_store.get(live_id))
        except WellspringError as exc:
            if isinstance(exc, _RETRIED_ERRORS):
                check_at = self._clock.now() + RETRY_AFTER
            return _CacheEntry(
                pointer_version, _keep_previous(previous, live_id), check_at, exc, failed=live_id or "none"
            )
        return _CacheEntry(pointer_version, served, check_at)

    def _load_recorded(self, release: Release) -> LoadedRelease:
        """Load a release, and record it."""
        with self._step(
            "serve", release.subject, inputs=[build_release_ref(release)], facts={"model": release.model}
        ) as act:
            act.add_inputs(Ref(name=f"artifact:{release.model}", digest=release.artifact))
            return self._load_approved(release)

    def _load_approved(self, release: Release) -> LoadedRelease:
        """Load a release. Raises Refused if the ledger holds no approval by a second person."""
        if find_approval(self._log, release) is None:
            raise Refused.because(
                release.subject,
                "not_approved",
                "no second person approved it",
                what=f"{release.subject} is not approved",
                fix="do not serve this release",
            )
        return self._load_release(release)._replace(mode=find_mode_period(self._log).mode)


def _combine(served: LoadedRelease | None, challenger: _Challenger | None) -> LoadedDeployment | None:
    if served is None:
        return None
    if challenger is None:
        return LoadedDeployment(served, Deployment(model=served.release.model, stable=served.release.id))
    return LoadedDeployment(served, challenger.deployment, challenger.served)


def _keep_previous(served: LoadedRelease | None, live_id: str) -> LoadedRelease | None:
    """Keep the previous release in service, marked with the live release that could not be loaded."""
    superseded_by = f"release:{live_id}" if _RELEASE_ID.fullmatch(live_id) else ""
    return served._replace(superseded_by=superseded_by) if served is not None else None
