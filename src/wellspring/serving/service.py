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

from wellspring.data.features.freshness import freshness_state
from wellspring.errors import NotFound, ProjectError, Refused, Unavailable, WellspringError
from wellspring.lake import editions
from wellspring.project import suggest_name
from wellspring.records.clock import Clock
from wellspring.records.data import FeatureRow, FeatureViews, FeatureViewSpec
from wellspring.records.models import Prediction
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest, format_instant
from wellspring.records.trust import Ref
from wellspring.serving import prediction as answers
from wellspring.serving.prediction import FeatureContext, RowsByView
from wellspring.serving.release_cache import LoadedRelease, ReleaseCache, TokenDomains
from wellspring.stores.online.redis import LiveMarker, OnlineReader
from wellspring.trust import policy
from wellspring.trust.answer_signing import AnswerSigner
from wellspring.trust.authorization import DenialThrottle, require_authorization
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicyResource, PolicySet
from wellspring_verify import answer_signature

MAX_THREADS = 32
_PLACEHOLDER_ROW = FeatureRow("", (), {}, datetime(1970, 1, 1, tzinfo=UTC), 0, "")
T = TypeVar("T")


class PolicyReloader:
    """The policies as they stand in the project's folder: looked at once a second, parsed again where they changed.

    One that cannot be read or does not parse leaves the former ones in force, is told in `trouble`, and tried again.
    """

    def __init__(self, folder: Path | None, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._file_stats = self._stat_files()
        self._checked_at = clock.now()
        self._current = policy.load_policies(folder)
        self.last_error: ProjectError | None = None

    def current(self) -> PolicySet:
        """Return what is in force."""
        now = self._clock.now()
        if abs(now - self._checked_at) >= timedelta(seconds=1):
            self._checked_at = now
            file_stats = self._stat_files()
            if file_stats != self._file_stats or self.last_error is not None:
                try:
                    self._current, self.last_error = policy.load_policies(self._folder), None
                except ProjectError as exc:
                    self.last_error = exc
                self._file_stats = file_stats
        return self._current

    def _stat_files(self) -> list[tuple[str, int, int, int]]:
        paths = sorted(self._folder.glob("*.cedar")) if self._folder is not None else []
        return [_stat_version(path) for path in paths]


@dataclass(frozen=True)
class ServiceDependencies:
    """What a desk works with. reader: opens the online store for the views of one definition.

    domains: reads the contracts; asked once for each definition, and for each release that is loaded.
    """

    project_name: str
    release_cache: ReleaseCache
    policy_reloader: PolicyReloader
    answer_signer: AnswerSigner
    editions: editions.EditionStore
    views: Callable[[Digest], FeatureViews]
    open_reader: Callable[[FeatureViews], OnlineReader]
    token_domains: Callable[[], TokenDomains]
    step: Recorder
    clock: Clock


class PredictionResult(NamedTuple):
    """A promised answer, and its line in the ledger."""

    prediction: Prediction
    ledger_entry: str


class FeatureLookup(NamedTuple):
    """Features as they are known of one thing."""

    view: str
    values: Mapping[str, JsonValue]
    known_since: datetime
    context: FeatureContext
    ledger_entry: str


class PredictionService:
    """Answers the questions of one process. Its methods are awaited on one event loop."""

    def __init__(self, dependencies: ServiceDependencies) -> None:
        self._dependencies = dependencies
        self._executor = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="answer")
        self._readers: dict[Digest, OnlineReader] = {}
        self._views_by_digest: dict[Digest, FeatureViews] = {}
        self._token_domains: dict[Digest, TokenDomains] = {}
        self._edition_digests: dict[str, Digest] = {}
        self._compatible_views: set[tuple[str, Digest]] = set()
        self._denial_throttle = DenialThrottle(dependencies.clock)
        self._live_marker: LiveMarker | None = None

    async def start(self) -> None:
        """Make the first key known, load what is live, and look once into the online store.

        Raises Unavailable when the journal cannot be written; what cannot be loaded now is told in `health`.
        """
        await self._run_in_thread(self._dependencies.answer_signer.current_key)
        for model in self._dependencies.release_cache.release_store.live_models():
            try:
                await self._served(model)
            except WellspringError:
                # Kept in the shelf's troubles, and in the ledger; the process answers for the other models.
                continue
        try:
            await self._read_live_marker()
        except WellspringError:
            return

    async def close(self) -> None:
        """Let go of the online store, after the answers under way."""
        for reader in self._readers.values():
            await reader.close()
        self._executor.shutdown()

    async def predict(
        self, model: str, entity_keys: Mapping[str, str], *, include_reasons: bool, principal: Principal
    ) -> PredictionResult:
        """Answer for one thing. given: its tokens by key column.

        Raises NotFound, Refused, Unavailable, Broken: then there is no answer, and nothing of what was given is said.
        """
        started_at = time.perf_counter()
        served = await self._served(model)
        policies = self._authorize(principal, "predict", PolicyResource(f"model:{model}"))
        views = served.views_used
        try:
            row_keys = answers.lookup_keys(views, entity_keys, served.token_domains)
            live, rows = await self._open_reader(served.views).get_with_marker(row_keys)
            live = self._require_live(live)
            self._check_compatibility(served, live)
            rows_by_view = {view.name: row for view, row in zip(views, rows, strict=True)}
            return await self._run_in_thread(
                self._score_and_sign,
                served,
                live,
                rows_by_view,
                entity_keys,
                include_reasons,
                principal,
                policies,
                started_at,
            )
        except Refused as exc:
            await self._run_in_thread(self._record_rejection, "predict", f"model:{model}", exc, principal, policies)
            raise

    async def get_features(self, view_name: str, entity_keys: Sequence[str], *, principal: Principal) -> FeatureLookup:
        """Tell the features of one thing. key: tokens, in the order of the view's keys."""
        started_at = time.perf_counter()
        views = self._load_views((await self._read_live_marker()).views)
        view = views.find_view(view_name)
        if view is None:
            raise NotFound("no such view is served", fix=suggest_name(view_name, [item.name for item in views.views]))
        policies = self._authorize(principal, "read_features", PolicyResource(f"view:{view_name}"))
        try:
            if len(entity_keys) != len(view.keys):
                key_names = ", ".join(view.keys)
                raise answers.build_rejection(
                    "missing_key", f"{view_name} has the keys {key_names}", fix="bring one token for each, in order"
                )
            row_keys = answers.lookup_keys(
                (view,), dict(zip(view.keys, entity_keys, strict=True)), await self._load_token_domains(views)
            )
            live, rows = await self._open_reader(views).get_with_marker(row_keys)
            live = self._require_current_definition(view, self._require_live(live))
            return await self._run_in_thread(
                self._build_feature_lookup, view, live, {view_name: rows[0]}, principal, policies, started_at
            )
        except Refused as exc:
            await self._run_in_thread(
                self._record_rejection, "read_features", f"view:{view_name}", exc, principal, policies
            )
            raise

    async def describe_model(self, model: str, *, principal: Principal) -> dict[str, JsonValue]:
        """Say what a model needs to be asked, what serves it, and how old its knowledge is."""
        served = await self._served(model)
        self._authorize(principal, "predict", PolicyResource(f"model:{model}"))
        live = await self._read_live_marker()
        freshness, age_seconds = freshness_state(
            {view.name: _PLACEHOLDER_ROW for view in served.views_used},
            served.views_used,
            live.as_of,
            self._dependencies.clock.now(),
        )
        pending_error = self._dependencies.release_cache.load_errors.get(model)
        return {
            "model": model,
            "release": served.release.id,
            "trained_on": served.release.edition,
            "edition": live.edition,
            "keys": list(served.scorer.keys),
            "threshold": served.release.threshold,
            "labels": list(served.release.labels),
            "freshness": freshness,
            "as_of": format_instant(live.as_of),
            "age_seconds": age_seconds,
            "pending_error": pending_error.what if pending_error is not None else None,
        }

    def health(self) -> dict[str, JsonValue]:
        """Say what is served, and what is not as it should be."""
        release_cache, policy_reloader = self._dependencies.release_cache, self._dependencies.policy_reloader
        load_errors = {model: error.what for model, error in release_cache.load_errors.items()}
        return {
            "status": "degraded" if load_errors or policy_reloader.last_error else "ok",
            "models": {model: served.release.id for model, served in release_cache.loaded.items()},
            "load_errors": {**load_errors},
            "policies": {
                "digest": policy_reloader.current().digest,
                "last_error": policy_reloader.last_error.what if policy_reloader.last_error else None,
            },
        }

    # --- inside ---------------------------------------------------------------------------------------------------

    def _score_and_sign(
        self,
        served: LoadedRelease,
        live: LiveMarker,
        rows: RowsByView,
        entity_keys: Mapping[str, str],
        include_reasons: bool,
        principal: Principal,
        policies: PolicySet,
        started_at: float,
    ) -> PredictionResult:
        """Score, journal, promise; in this order, on a thread."""
        dependencies = self._dependencies
        answered_at = dependencies.clock.now()
        context = self._build_context(live, rows, served.views_used, answered_at)
        self._authorize_stale(context, principal, "predict", PolicyResource(f"model:{served.release.model}"), policies)
        scored_row = served.scorer.score(rows, include_reasons=include_reasons)
        signing_key = dependencies.answer_signer.current_key()
        prediction = answers.build_prediction(
            served, scored_row, context, prediction_id=token_hex(10), entity_keys=entity_keys, answered_at=answered_at
        )
        signed_text = answer_signature.signed_text(prediction.model_dump(mode="json"))
        record = answers.build_ledger_record(
            prediction,
            signed_text,
            served,
            context,
            key_id=signing_key.key_id,
            principal=principal.name,
            policy_digest=policies.digest,
        )
        ledger_entry = self._append_to_ledger("predict", record, started_at)
        signature = signing_key.sign_answer(signed_text)
        return PredictionResult(prediction.model_copy(update={"signature": signature}), ledger_entry)

    def _build_feature_lookup(
        self,
        view: FeatureViewSpec,
        live: LiveMarker,
        rows: RowsByView,
        principal: Principal,
        policies: PolicySet,
        started_at: float,
    ) -> FeatureLookup:
        context = self._build_context(live, rows, (view,), self._dependencies.clock.now())
        self._authorize_stale(context, principal, "read_features", PolicyResource(f"view:{view.name}"), policies)
        row = rows[view.name]
        assert row is not None
        facts: dict[str, JsonValue] = {
            "principal": principal.name,
            "policy_digest": policies.digest,
            "freshness": context.freshness,
            "views": {view.name: answers.build_row_reference(row)},
        }
        edition_ref = Ref(name=context.edition.subject, digest=context.edition_digest)
        ledger_entry = self._append_to_ledger(
            "read_features", answers.LedgerRecord(f"view:{view.name}", (edition_ref,), (), facts), started_at
        )
        values = {name: _to_json_value(value) for name, value in row.values.items()}
        return FeatureLookup(view.name, values, row.known_since, context, ledger_entry)

    def _append_to_ledger(self, action: str, record: answers.LedgerRecord, started_at: float) -> str:
        seconds = time.perf_counter() - started_at
        return self._dependencies.step.record_answer(
            action, record.subject, inputs=record.inputs, outputs=record.outputs, facts=record.facts, seconds=seconds
        )

    def _build_context(
        self, live: LiveMarker, rows: RowsByView, views: tuple[FeatureViewSpec, ...], now: datetime
    ) -> FeatureContext:
        edition_store = self._dependencies.editions
        edition = edition_store.get_edition(live.edition)
        if edition.id not in self._edition_digests:
            self._edition_digests[edition.id] = editions.edition_digest(edition)
        context = answers.build_feature_context(
            rows, views, edition, self._edition_digests[edition.id], live.as_of, now
        )
        edition_ids = {row.edition for row in rows.values() if row is not None}
        return answers.mark_last_good(
            context, {edition_id: edition_store.get_edition(edition_id).known_since for edition_id in edition_ids}
        )

    def _authorize(self, principal: Principal, action: str, resource: PolicyResource) -> PolicySet:
        """Ask the policies, and return those that were asked. Raises Refused; the refusal is recorded."""
        policies = self._dependencies.policy_reloader.current()
        require_authorization(
            policies,
            principal,
            action,
            resource,
            step=self._dependencies.step,
            record_denials_only=True,
            throttle=self._denial_throttle,
        )
        return policies

    def _authorize_stale(
        self,
        feature_context: FeatureContext,
        principal: Principal,
        action: str,
        resource: PolicyResource,
        policies: PolicySet,
    ) -> None:
        """Ask once more when what is known is not fresh, as policies may forbid to answer from it. law: as at first,
        for the line names those."""
        if feature_context.freshness == "fresh" or "freshness?" not in policy.CEDAR_SCHEMA:
            return
        policy_context: dict[str, JsonValue] = {"freshness": feature_context.freshness}
        require_authorization(
            policies,
            principal,
            action,
            resource,
            policy_context,
            step=self._dependencies.step,
            record_denials_only=True,
            throttle=self._denial_throttle,
        )

    def _record_rejection(
        self, action: str, subject: str, error: Refused, principal: Principal, policies: PolicySet
    ) -> None:
        """Record a refusal that no policy made, by its code alone; many of one kind are one entry a second."""
        if error.verdict is None or error.verdict.outcome == "fail":
            return
        code = error.verdict.reasons[0].code
        suppressed = self._denial_throttle.suppressed_count(principal.name, f"{action} {code}")
        if suppressed is None:
            return
        facts: dict[str, JsonValue] = {
            "principal": principal.name,
            "policy_digest": policies.digest,
            "suppressed_count": suppressed,
        }
        try:
            with self._dependencies.step(action, subject, facts=facts):
                raise error
        except Refused:
            return

    def _check_compatibility(self, served: LoadedRelease, live: LiveMarker) -> None:
        """Hold a release against each definition that a row online may be of: what is live, and what is coming."""
        for digest in (live.views, *live.pending_views):
            pair = served.release.id, digest
            if digest != served.release.views and pair not in self._compatible_views:
                answers.check_view_compatibility(served, self._load_views(digest))
                self._compatible_views.add(pair)

    def _require_current_definition(self, view: FeatureViewSpec, live: LiveMarker) -> LiveMarker:
        """Raise Unavailable while a row may be of another definition of its view than the one that it was read by."""
        if any(self._load_views(digest).find_view(view.name) != view for digest in (live.views, *live.pending_views)):
            raise Unavailable(
                f"{view.name} is being defined anew",
                fix="ask again when its rows are online; should that not end, run `wellspring transform`",
            )
        return live

    def _require_live(self, live: LiveMarker | None) -> LiveMarker:
        if live is None:
            raise Unavailable("no edition is in the online store yet", fix="ask again when one has been put there")
        self._live_marker = live
        return live

    async def _read_live_marker(self) -> LiveMarker:
        """Say what is live online, asking the store."""
        last_views = self._load_views(self._live_marker.views) if self._live_marker is not None else FeatureViews(
            project=self._dependencies.project_name, views=(), digest=""
        )  # fmt: skip
        return self._require_live(await self._open_reader(last_views).get_live())

    def _load_views(self, digest: Digest) -> FeatureViews:
        if digest not in self._views_by_digest:
            self._views_by_digest[digest] = self._dependencies.views(digest)
        return self._views_by_digest[digest]

    async def _load_token_domains(self, views: FeatureViews) -> TokenDomains:
        if views.digest not in self._token_domains:
            self._token_domains[views.digest] = await self._run_in_thread(self._dependencies.token_domains)
        return self._token_domains[views.digest]

    def _open_reader(self, views: FeatureViews) -> OnlineReader:
        if views.digest not in self._readers:
            self._readers[views.digest] = self._dependencies.open_reader(views)
        return self._readers[views.digest]

    async def _served(self, model: str) -> LoadedRelease:
        return self._dependencies.release_cache.peek(model) or await self._run_in_thread(
            self._dependencies.release_cache.get, model
        )

    async def _run_in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)


def _stat_version(path: Path) -> tuple[str, int, int, int]:
    """Say by which write a file is as it is, and by which change of who may read it; its name alone if nobody can."""
    try:
        file_stat = path.stat()
    except OSError:
        # Gone, or out of reach, since it was listed: what comes of it, reading it will say.
        return path.name, -1, -1, -1
    return path.name, file_stat.st_mtime_ns, file_stat.st_ctime_ns, file_stat.st_size


def _to_json_value(value: float | str | None) -> JsonValue:
    """Write a value as JSON can: it has no number that is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
