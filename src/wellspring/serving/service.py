"""Serve predictions and features: authorize, read all rows in one round trip, score, write the ledger record, respond.

Work that waits for a disk or a CPU core runs in a thread pool; the event loop only reads and dispatches.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import TypeVar

from pydantic import JsonValue

from wellspring.data.features.freshness import freshness_state
from wellspring.errors import NotFound, Refused, WellspringError, suggest_name
from wellspring.lake import editions
from wellspring.records.clock import Clock
from wellspring.records.features import FeatureRow, FeatureViews, FeatureViewSpec
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest, format_instant
from wellspring.records.trust import Ref
from wellspring.serving.loaded_release import AnsweringRelease, LoadedDeployment, TokenDomains
from wellspring.serving.online_features import OnlineFeatures
from wellspring.serving.policy_reloader import PolicyReloader
from wellspring.serving.prediction import (
    FeatureContext,
    FeatureLookup,
    LedgerRecord,
    PredictionResult,
    RowsByView,
    build_feature_context,
    build_ledger_record,
    build_prediction,
    build_rejection,
    build_row_reference,
    compute_request_digest,
    lookup_keys,
    mark_last_good,
)
from wellspring.serving.release_cache import ReleaseCache
from wellspring.stores.online.port import LiveMarker, OnlineReader
from wellspring.trust import policy
from wellspring.trust.answer_signing import AnswerSigner
from wellspring.trust.authorization import DenialThrottle, require_authorization
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicyResource, PolicySet
from wellspring_verify import answer_signature

MAX_THREADS = 32
_PLACEHOLDER_ROW = FeatureRow("", (), {}, datetime(1970, 1, 1, tzinfo=UTC), 0, "")
T = TypeVar("T")


@dataclass(frozen=True)
class ServiceDependencies:
    """Hold what a PredictionService depends on.

    open_reader: opens the online store for one set of view definitions. load_token_domains: reads the contracts; called
    once for each set of view definitions of which features are requested.
    """

    project_name: str
    release_cache: ReleaseCache
    policy_reloader: PolicyReloader
    answer_signer: AnswerSigner
    editions: editions.EditionStore
    load_views: Callable[[Digest], FeatureViews]
    open_reader: Callable[[FeatureViews], OnlineReader]
    load_token_domains: Callable[[], TokenDomains]
    step: Recorder
    clock: Clock


class PredictionService:
    """Serve predictions and features in one process. Await all methods on the same event loop."""

    def __init__(self, dependencies: ServiceDependencies) -> None:
        self._dependencies = dependencies
        self._executor = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="prediction")
        self._online = OnlineFeatures(
            dependencies.project_name, load_views=dependencies.load_views, open_reader=dependencies.open_reader
        )
        self._token_domains: dict[Digest, TokenDomains] = {}
        self._edition_digests: dict[str, Digest] = {}
        self._denial_throttle = DenialThrottle(dependencies.clock)

    async def start(self) -> None:
        """Record the first signing key, load the live releases, and read the online store once.

        Raises Unavailable when the journal cannot be written. `health` lists releases that cannot be loaded.
        """
        await self._run_in_thread(self._dependencies.answer_signer.current_key)
        for model in self._dependencies.release_cache.release_store.live_models():
            try:
                await self._get_deployment(model)
            except WellspringError:
                # The error is in `load_errors` and in the ledger; the process serves the other models.
                continue
        try:
            await self._online.read_newest_marker()
        except WellspringError:
            return

    async def close(self) -> None:
        """Close the online store readers, then wait for the running threads."""
        await self._online.close()
        self._executor.shutdown()

    async def predict(
        self, model: str, entity_keys: Mapping[str, str], *, include_reasons: bool, principal: Principal
    ) -> PredictionResult:
        """Predict for one entity. entity_keys: its tokens by key column.

        Raises NotFound, Refused, Unavailable and CorruptedError; no error repeats a value of the request.
        """
        started_at = time.perf_counter()
        deployed = await self._get_deployment(model)
        policies = self._authorize(principal, "predict", PolicyResource(f"model:{model}"))
        request_digest = compute_request_digest(entity_keys)
        answering = deployed.choose_release(request_digest)
        served = answering.served
        views = served.views_used
        try:
            row_keys = lookup_keys(views, entity_keys, served.token_domains)
            live, rows = await self._online.read_rows(served.views, row_keys)
            rows_by_view = {view.name: row for view, row in zip(views, rows, strict=True)}
            return await self._run_in_thread(
                self._score_and_sign,
                answering,
                live,
                rows_by_view,
                request_digest,
                include_reasons,
                principal,
                policies,
                started_at,
            )
        except Refused as exc:
            await self._run_in_thread(self._record_rejection, "predict", f"model:{model}", exc, principal, policies)
            raise

    async def get_features(self, view_name: str, entity_keys: Sequence[str], *, principal: Principal) -> FeatureLookup:
        """Read the features of one entity. entity_keys: tokens, in the order of the view's keys."""
        started_at = time.perf_counter()
        views = self._online.get_views((await self._online.read_newest_marker()).views)
        view = views.find_view(view_name)
        if view is None:
            raise NotFound("no such view is served", fix=suggest_name(view_name, [view.name for view in views.views]))
        policies = self._authorize(principal, "read_features", PolicyResource(f"view:{view_name}"))
        try:
            if len(entity_keys) != len(view.keys):
                key_names = ", ".join(view.keys)
                raise build_rejection(
                    "missing_key",
                    f"the key columns of {view_name} are {key_names}",
                    fix="send one token for each key column, in this order",
                )
            row_keys = lookup_keys(
                (view,), dict(zip(view.keys, entity_keys, strict=True)), await self._load_token_domains(views)
            )
            live, rows = await self._online.read_rows(views, row_keys)
            return await self._run_in_thread(
                self._build_feature_lookup, view, live, {view_name: rows[0]}, principal, policies, started_at
            )
        except Refused as exc:
            await self._run_in_thread(
                self._record_rejection, "read_features", f"view:{view_name}", exc, principal, policies
            )
            raise

    async def describe_model(self, model: str, *, principal: Principal) -> dict[str, JsonValue]:
        """Describe a model: required keys, live release, and age of its features."""
        deployed = await self._get_deployment(model)
        served, deployment = deployed.stable, deployed.deployment
        self._authorize(principal, "predict", PolicyResource(f"model:{model}"))
        live, _ = await self._online.read_rows(served.views, [])
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
            "challenger": deployment.challenger or None,
            "challenger_share": deployment.share or None,
            "trained_on": served.release.edition,
            "edition": live.edition,
            "keys": list(served.scorer.keys),
            "task": served.release.task,
            "decision_rule": served.release.decision_rule.model_dump(mode="json", exclude_none=True),
            "reasons": served.scorer.attribution,
            "freshness": freshness,
            "as_of": format_instant(live.as_of),
            "age_seconds": age_seconds,
            "pending_error": pending_error.what if pending_error is not None else None,
        }

    async def health(self) -> dict[str, JsonValue]:
        """Compare pointers and log; report the loaded releases, what was found, and the state of the policies."""
        await self._run_in_thread(self._dependencies.release_cache.check_all)
        on_disk = await self._run_in_thread(self._dependencies.policy_reloader.released.compare_disk)
        release_cache, policy_reloader = self._dependencies.release_cache, self._dependencies.policy_reloader
        load_errors = {model: error.what for model, error in release_cache.load_errors.items()}
        return {
            "status": "degraded" if load_errors or policy_reloader.last_error else "ok",
            "mode": release_cache.read_mode(),
            "models": {model: loaded.stable.release.id for model, loaded in release_cache.loaded.items()},
            "challengers": {
                model: loaded.challenger.release.id
                for model, loaded in release_cache.loaded.items()
                if loaded.challenger is not None
            },
            "load_errors": {**load_errors},
            "policies": {
                "digest": policy_reloader.current().digest,
                "last_error": policy_reloader.last_error.what if policy_reloader.last_error else None,
                "on_disk": on_disk,
            },
        }

    def _score_and_sign(
        self,
        answering: AnsweringRelease,
        live: LiveMarker,
        rows: RowsByView,
        request_digest: Digest,
        include_reasons: bool,
        principal: Principal,
        policies: PolicySet,
        started_at: float,
    ) -> PredictionResult:
        """Score, append to the journal, then sign. Runs in the thread pool."""
        dependencies, served = self._dependencies, answering.served
        answered_at = dependencies.clock.now()
        context = self._build_context(live, rows, served.views_used, answered_at)
        self._authorize_stale(context, principal, "predict", PolicyResource(f"model:{served.release.model}"), policies)
        scored_row = served.scorer.score(rows, include_reasons=include_reasons)
        signing_key = dependencies.answer_signer.current_key()
        prediction = build_prediction(
            answering,
            scored_row,
            context,
            prediction_id=token_hex(10),
            request_digest=request_digest,
            answered_at=answered_at,
        )
        signed_text = answer_signature.signed_text(prediction.model_dump(mode="json"))
        record = build_ledger_record(
            prediction,
            scored_row.output,
            signed_text,
            answering,
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
            "views": {view.name: build_row_reference(row)},
        }
        edition_ref = Ref(name=context.edition.subject, digest=context.edition_digest)
        ledger_entry = self._append_to_ledger(
            "read_features", LedgerRecord(f"view:{view.name}", (edition_ref,), (), facts), started_at
        )
        values = {name: _to_json_value(value) for name, value in row.values.items()}
        return FeatureLookup(view.name, values, row.known_since, context, ledger_entry)

    def _append_to_ledger(self, action: str, record: LedgerRecord, started_at: float) -> str:
        seconds = time.perf_counter() - started_at
        facts: dict[str, JsonValue] = {**record.facts, "latency_us": round(seconds * 1e6)}
        return self._dependencies.step.record_prediction(
            action, record.subject, inputs=record.inputs, outputs=record.outputs, facts=facts, seconds=seconds
        )

    def _build_context(
        self, live: LiveMarker, rows: RowsByView, views: tuple[FeatureViewSpec, ...], now: datetime
    ) -> FeatureContext:
        edition_store = self._dependencies.editions
        edition = edition_store.get_edition(live.edition)
        if edition.id not in self._edition_digests:
            self._edition_digests[edition.id] = editions.edition_digest(edition)
        context = build_feature_context(rows, views, edition, self._edition_digests[edition.id], live.as_of, now)
        edition_ids = {row.edition for row in rows.values() if row is not None}
        return mark_last_good(
            context, {edition_id: edition_store.get_edition(edition_id).known_since for edition_id in edition_ids}
        )

    def _authorize(self, principal: Principal, action: str, resource: PolicyResource) -> PolicySet:
        """Authorize a request and return the policy set that decided. Raises Refused, and records the refusal."""
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
        """Authorize again when the features are not fresh, because a policy may forbid stale features.

        policies: the set of the first decision, because the ledger record names its digest.
        """
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
        """Record the code of a rejection that is not a policy refusal, at most once a second per principal and code."""
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

    async def _load_token_domains(self, views: FeatureViews) -> TokenDomains:
        if views.digest not in self._token_domains:
            self._token_domains[views.digest] = await self._run_in_thread(self._dependencies.load_token_domains)
        return self._token_domains[views.digest]

    async def _get_deployment(self, model: str) -> LoadedDeployment:
        return self._dependencies.release_cache.peek(model) or await self._run_in_thread(
            self._dependencies.release_cache.get, model
        )

    async def _run_in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)


def _to_json_value(value: float | str | None) -> JsonValue:
    """Convert a feature value to JSON; NaN and infinity become None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
