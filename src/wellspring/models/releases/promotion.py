"""A release is served whole or not at all: kept under its digest, pointed to once two people stand behind it, and back.

One pointer a model says what answers. It moves after the intent is in the ledger and before the end is; what a crash
leaves in between, `recover` carries out. MLflow shows the same thing and decides nothing: its alias is a projection.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import JsonValue, ValidationError

from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable
from wellspring.models.releases import history
from wellspring.models.releases.history import get_text_fact
from wellspring.models.spec.artifact import ModelArtifact, read_candidate
from wellspring.models.tracking.mlflow import LiveVersion
from wellspring.project import suggest_name
from wellspring.records.data import Edition
from wellspring.records.models import Candidate, Release
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest
from wellspring.records.trust import Entry, IndexedEntry, Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.trust.approvals import LedgerEntries, compute_release_digest, find_approval, release_resource
from wellspring.trust.authorization import require_authorization
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicyResource, PolicySet
from wellspring_verify import canonical

_RELEASES_DIR, _LIVE_DIR = "releases", "live"
_MODEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
LoadCheck = Callable[[Release], object]
"""Loads what a release names, and raises unless every byte is what it says."""


class EditionLookup(Protocol):
    """What is asked of the lake."""

    def get_edition(self, edition_id: str | None = None) -> Edition | None: ...


class RegistryMirror(Protocol):
    """What is asked of the registry (`models.registry.Registry`)."""

    def get_run(self, run: str) -> object: ...

    def reconcile(self, model: str, live: LiveVersion | None) -> tuple[str, ...]: ...


class ReleaseContext(NamedTuple):
    """Where releases are kept, remembered and shown. check: `serving.load`, bound: what the API does."""

    release_store: ReleaseStore
    index: LedgerEntries
    lake: EditionLookup
    registry: RegistryMirror
    load_check: LoadCheck


class PromotionExecutor(NamedTuple):
    """Who carries out what another approved before, and the policies that must let this person approve it too."""

    person: Principal
    policies: PolicySet


class ReleaseStore:
    """The folder of releases: `releases/ID.json`, write once, and one pointer a model, `live/MODEL`."""

    def __init__(self, folder: Path) -> None:
        self.paths = DiskBlobStore(folder)

    def save(self, release: Release) -> Release:
        """Write it down; of one digest the first stays, whatever was composed again later. Raises Refused, Broken."""
        _check_release_digest(release, Refused)
        try:
            return self.get(release.id)
        except NotFound:
            self.paths.write_once(
                f"{_RELEASES_DIR}/{release.id}.json", canonical.dumps_canonical(release.model_dump(mode="json"))
            )
            return release

    def get(self, release_id: str) -> Release:
        """Return a release. Raises NotFound with the nearest id, Broken when its bytes are others."""
        try:
            content = self.paths.read(f"{_RELEASES_DIR}/{release_id}.json")
        except NotFound:
            raise NotFound(
                f"no release {release_id[:40]!a}", fix=suggest_name(release_id, list(self.list_ids()))
            ) from None
        try:
            release = Release.model_validate(canonical.loads_canonical(content), strict=False)
        except (canonical.MalformedError, ValidationError):
            raise CorruptedError(f"release {release_id} is no release any more", fix=_RESTORE_FIX) from None
        _check_release_digest(release, CorruptedError)
        if release.id != release_id:
            raise CorruptedError(f"release {release_id} holds another release", fix=_RESTORE_FIX)
        return release

    def list_ids(self) -> tuple[str, ...]:
        """List the ids of all releases that are kept."""
        return tuple(
            name.removeprefix(f"{_RELEASES_DIR}/").removesuffix(".json") for name in self.paths.list(_RELEASES_DIR)
        )

    def live_models(self) -> tuple[str, ...]:
        """List the models of which a release is live."""
        return tuple(name.removeprefix(f"{_LIVE_DIR}/") for name in self.paths.list(_LIVE_DIR))

    def live_id(self, model: str) -> str:
        """Return the id of the release that is live, '' before the first."""
        try:
            return self.paths.read(_live_path(model)).decode("ascii", "replace").strip()
        except NotFound:
            return ""

    def get_live(self, model: str) -> Release | None:
        """Return the release that is live, None before the first. Raises Broken."""
        release_id = self.live_id(model)
        return self.get(release_id) if release_id else None

    def set_live(self, release: Release) -> None:
        """Let it answer from now on."""
        self.paths.replace(_live_path(release.model), f"{release.id}\n".encode())

    def live_version(self, model: str) -> tuple[int, int] | None:
        """Say by which write the pointer is as it is, without reading it; None before the first, or for no name."""
        if not _MODEL_NAME.fullmatch(model):
            return None
        try:
            pointer_stat = os.stat(self.paths.folder / _live_path(model))
        except FileNotFoundError:
            return None
        return pointer_stat.st_ino, pointer_stat.st_mtime_ns

    def pinned_editions(self) -> frozenset[str]:
        """Name the editions that any kept release stands on: each may be rolled back to, and replayed."""
        return frozenset(self.get(release_id).edition for release_id in self.list_ids())


def build_release(
    candidate: Candidate,
    artifact: ModelArtifact,
    policy_digest: Digest,
    *,
    threshold: str | None = None,
    labels: tuple[str, str] | None = None,
) -> Release:
    """Put together what somebody may propose. policy: digest of the project's policies.

    threshold, labels: the model's own where they are not given. Known since its candidate is. Raises Refused.
    """
    if artifact.digest != candidate.artifact or artifact.spec.model != candidate.model:
        raise Refused(f"{candidate.subject} was not judged with this artefact", fix="compose it with its own")
    chosen_threshold = threshold if threshold is not None else artifact.spec.threshold
    try:
        in_range = 0 < Decimal(chosen_threshold) < 1
    except InvalidOperation:
        in_range = False
    if not in_range:
        raise Refused("a threshold is a decimal between 0 and 1", fix="write it as 0.25")
    draft = Release(
        id="",
        digest="",
        model=candidate.model,
        candidate=candidate.id,
        artifact=artifact.digest,
        views=candidate.views,
        preprocessing=hashlib.sha256(artifact.spec.encode()).hexdigest(),
        threshold=chosen_threshold,
        labels=labels or artifact.spec.labels,
        edition=candidate.edition,
        policy=policy_digest,
        tenant=candidate.tenant,
        known_since=candidate.known_since,
    )
    digest = compute_release_digest(draft)
    return draft.model_copy(update={"id": digest[:12], "digest": digest})


def promote_release(
    release: Release,
    person: str,
    release_context: ReleaseContext,
    *,
    step: Recorder,
    executor: PromotionExecutor | None = None,
) -> None:
    """Let a release answer. person: who approved it; carrier: who carries that out, where it was approved before.

    The caller holds the writer's lock, and has integrated. What is live already stays so, and MLflow is told again.
    Raises Refused for what two people do not stand behind, what was taken back, what was not judged beside what is live
    now, or whose edition is gone; Broken for bytes that are not as named; Unavailable when MLflow does not answer,
    before anything has moved.
    """
    rollback_stack = _load_rollback_stack(release.model, release_context)
    if rollback_stack[-1:] != [release.id]:
        facts: dict[str, JsonValue] = {
            "model": release.model,
            "previous_release": rollback_stack[-1] if rollback_stack else "",
            "user": person,
        }
        if executor is not None:
            facts["executed_by"] = executor.person.name
        with step("check", release.subject, inputs=[build_release_ref(release)], facts=facts):
            _check_promotable(release, release_context, executor, step=step)
        with step("promote", release.subject, inputs=[build_release_ref(release)], intent=True, facts=facts):
            step.crash_point("release.promote:intent")
            release_context.release_store.set_live(release)
            step.crash_point("release.promote:live-set")
    _try_sync_registry(release.model, release_context)
    step.crash_point("release.promote:registry-synced")


def rollback_release(
    model: str, person: Principal, release_context: ReleaseContext, *, policies: PolicySet, step: Recorder
) -> Release:
    """Serve again, whole, what was served before; a second time goes further back. No approval, but always a person.

    MLflow is told if it answers: it must not keep anybody from going back. Raises Refused, Broken.
    """
    if not person.name.startswith("user:"):
        raise Refused(f"{person.name} is no person", fix="log in: whoever takes a release back answers for it")
    require_authorization(
        policies, person, "rollback", PolicyResource(f"model:{model}"), step=step, record_denials_only=True
    )
    rollback_stack = _load_rollback_stack(model, release_context)
    if len(rollback_stack) < 2:
        raise Refused(
            f"nothing was live of {model} before {rollback_stack[0] if rollback_stack else 'now'}",
            fix="approve another release",
        )
    previous_release = release_context.release_store.get(rollback_stack[-2])
    release_context.load_check(previous_release)
    facts: dict[str, JsonValue] = {"model": model, "previous_release": rollback_stack[-1], "user": person.name}
    with step(
        "rollback", previous_release.subject, inputs=[build_release_ref(previous_release)], intent=True, facts=facts
    ):
        step.crash_point("release.rollback:intent")
        release_context.release_store.set_live(previous_release)
        step.crash_point("release.rollback:live-set")
    _try_sync_registry(model, release_context)
    return previous_release


def recover_releases(
    open_intents: Iterable[IndexedEntry], release_context: ReleaseContext, *, step: Recorder
) -> tuple[Release, ...]:
    """Bring pointer and ledger together again; the caller integrates, then again changes nothing. Raises Broken.

    Each switch whose intent was written and whose end was not is carried out. One that failed after the pointer had
    moved is live: it is settled, so that its answers can be proved and it can be taken back.
    """
    recovered_releases: list[Release] = []
    for open_intent in sorted(open_intents, key=lambda logged: logged.index):
        entry = open_intent.entry
        if entry.action not in history.SWITCH_ACTIONS:
            continue
        release = release_context.release_store.get(history.get_switched_release(entry))
        live_id = release_context.release_store.live_id(release.model)
        if build_release_ref(release) not in entry.inputs or live_id not in {
            release.id,
            get_text_fact(entry, "previous_release"),
        }:
            raise CorruptedError(
                f"{entry.id} wanted {entry.subject} to follow {get_text_fact(entry, 'previous_release') or 'nothing'}, and {live_id} is live",
                fix=_POINTER_FIX,
            )
        release_context.release_store.set_live(release)
        _complete_intent(entry, entry.id, step)
        recovered_releases.append(release)
    recovered_models = {recovered_release.model for recovered_release in recovered_releases}
    for model in release_context.release_store.live_models():
        failed_entry = (
            None if model in recovered_models else history.find_last_failed_switch(release_context.index, model)
        )
        if (
            failed_entry is None
            or failed_entry.intent is None
            or history.get_switched_release(failed_entry) != release_context.release_store.live_id(model)
        ):
            continue
        release = release_context.release_store.get(history.get_switched_release(failed_entry))
        rollback_stack = history.build_rollback_stack(release_context.index, model)
        if build_release_ref(release) in failed_entry.inputs and (
            rollback_stack[-1] if rollback_stack else ""
        ) == get_text_fact(failed_entry, "previous_release"):
            _complete_intent(failed_entry, failed_entry.intent, step)
            recovered_releases.append(release)
    for model in sorted({recovered_release.model for recovered_release in recovered_releases}):
        _try_sync_registry(model, release_context)
    return tuple(recovered_releases)


def _complete_intent(entry: Entry, intent: str, step: Recorder) -> None:
    facts = {name: value for name, value in entry.facts.items() if name not in {"error", "verdict"}}
    step.complete_after_crash(entry.action, entry.subject, intent, facts={**facts, "recovered": True})


def sync_registry(model: str, release_context: ReleaseContext) -> tuple[str, ...]:
    """Make MLflow show what is live, and return what had to be changed there. Raises Unavailable."""
    release = release_context.release_store.get_live(model)
    if release is None:
        return release_context.registry.reconcile(model, None)
    approval = find_approval(release_context.index, release)
    approved_by = approval.approver if approval is not None else ""
    return release_context.registry.reconcile(
        model, LiveVersion(_training_run(release, release_context), release.id, approved_by)
    )


def refuse_retirement(edition: Edition, release_store: ReleaseStore) -> None:
    """Raise Refused for an edition that any kept release stands on: it could be neither replayed nor rolled back to."""
    if edition.id in release_store.pinned_editions():
        raise Refused(
            f"{edition.subject} is named by a release, and cannot be retired",
            fix="retire another edition: what was released must stay possible to replay",
        )


def build_release_ref(release: Release) -> Ref:
    """Name a release by its digest."""
    return Ref(name=release.subject, digest=release.digest)


def require_current_comparison(release: Release, release_context: ReleaseContext) -> None:
    """Raise Refused unless the candidate of a release passed its gate, beside what is live now."""
    gate_entries = release_context.index.list_entries(
        subject=f"candidate:{release.candidate}", action="gate", phase="done"
    )
    entry = gate_entries[-1].entry if gate_entries else None
    artifact_ref = Ref(name=f"artifact:{release.model}", digest=release.artifact)
    if entry is None or get_text_fact(entry, "outcome") != "pass" or artifact_ref not in entry.inputs:
        raise _build_refusal(release, "gate_not_passed", f"the candidate of {release.subject} has not passed the gate")
    live_release = release_context.release_store.get_live(release.model)
    live_candidate, compared_candidate = (
        live_release.candidate if live_release is not None else "",
        get_text_fact(entry, "live"),
    )
    if compared_candidate != live_candidate:
        message = f"{release.subject} was judged beside {compared_candidate or 'nothing'}, and {live_candidate or 'nothing'} is live now"
        raise _build_refusal(release, "evaluated_against_another", message, fix=_RETRAIN_FIX.format(release.model))


def _check_promotable(
    release: Release, release_context: ReleaseContext, executor: PromotionExecutor | None, *, step: Recorder
) -> None:
    """Raise unless a release may answer, and its carrier may see to it."""
    _check_release_digest(release, Refused)
    release_context.release_store.get(release.id)
    approval = find_approval(release_context.index, release)
    if approval is None:
        raise _build_refusal(release, "not_approved", f"{release.subject} is not approved by a second person")
    if history.was_live(release_context.index, release.model, release.id):
        message = (
            f"{release.subject} was live before, and was taken back or replaced: its approval does not count again"
        )
        raise _build_refusal(release, "previously_live", message, fix=_RETRAIN_FIX.format(release.model))
    if executor is not None:
        person = executor.person
        if person.name in approval.proposers:
            message = f"{person.name} proposed {release.subject}: somebody else must carry out what was approved"
            raise _build_refusal(release, "self_approval", message)
        require_authorization(
            executor.policies,
            person,
            "approve",
            release_resource(release, approval.proposers),
            step=step,
            record_denials_only=True,
        )
    require_current_comparison(release, release_context)
    try:
        release_context.lake.get_edition(release.edition)
    except NotFound:
        raise _build_refusal(
            release, "edition_missing", f"the edition of {release.subject} is gone from the lake"
        ) from None
    release_context.load_check(release)
    # Asked before anything moves: a projection that nobody can see is noticed too late.
    release_context.registry.get_run(_training_run(release, release_context))


def _load_rollback_stack(model: str, release_context: ReleaseContext) -> list[str]:
    """List the releases that one could go back through. Raises Broken unless the pointer says the same."""
    rollback_stack, live_id = (
        history.build_rollback_stack(release_context.index, model),
        release_context.release_store.live_id(model),
    )
    if (rollback_stack[-1] if rollback_stack else "") != live_id:
        raise CorruptedError(
            f"the ledger says that {rollback_stack[-1] if rollback_stack else 'nothing'} is live of {model}, and {live_id or 'nothing'} is",
            fix=_POINTER_FIX,
        )
    return rollback_stack


def _training_run(release: Release, release_context: ReleaseContext) -> str:
    return read_candidate(release.candidate, paths=release_context.release_store.paths).run


def _try_sync_registry(model: str, release_context: ReleaseContext) -> None:
    """Let MLflow show what is live, once the ledger says so: nothing that goes wrong here may undo a switch."""
    try:
        sync_registry(model, release_context)
    except (CorruptedError, NotFound, Unavailable):
        # The release is live all the same, and the next switch, or `approve` of what is live, makes MLflow follow.
        return


def _check_release_digest(release: Release, error_type: type[Refused] | type[CorruptedError]) -> None:
    if release.digest != compute_release_digest(release) or release.id != release.digest[:12]:
        raise error_type(f"release {release.id[:12]!a} is not what its digest says", fix=_RESTORE_FIX)


def _build_refusal(release: Release, code: str, message: str, *, fix: str = "see `wellspring release list`") -> Refused:
    verdict = Verdict(subject=release.subject, outcome="fail", reasons=(Reason(code=code, message=message),))
    return Refused(message, fix=fix, verdict=verdict)


def _live_path(model: str) -> str:
    if not _MODEL_NAME.fullmatch(model):
        raise NotFound("no model can have such a name", fix="a name is lower-case letters, digits and underscores")
    return f"{_LIVE_DIR}/{model}"


_RESTORE_FIX = "do not serve it; restore its file from a copy, and verify the ledger"
_RETRAIN_FIX = "run `wellspring train {}`: a new candidate is judged beside what is live now"
_POINTER_FIX = "keep everything; somebody moved the pointer past the ledger"
