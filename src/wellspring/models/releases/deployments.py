"""The deployment of a model: which releases may answer, and in which role. Deploy a challenger, and end its role.

A challenger is a release that a second person approved. It answers a share of the requests beside the stable release;
the ledger says which, and a file per model only shows the API that something changed. Each change of the stable release
ends the role of a challenger: it was compared with the release before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from wellspring.errors import Refused
from wellspring.models.releases import history
from wellspring.models.releases.comparison import require_current_comparison
from wellspring.models.releases.release_context import ReleaseContext, build_release_ref
from wellspring.records.deployments import Deployment
from wellspring.records.record import format_instant
from wellspring.records.trust import Entry, IndexedEntry
from wellspring.trust.approvals import LedgerEntries, find_approval
from wellspring_verify import deployments as verification

if TYPE_CHECKING:
    from wellspring.records.models import Release
    from wellspring.records.observe import Recorder

DEPLOYMENT_ACTIONS = (*history.SWITCH_ACTIONS, *verification.CHALLENGER_ACTIONS)
"""Actions that change which releases of a model may answer."""
_SHARE = re.compile(r"0\.[0-9]{1,4}")
_SEED = re.compile(r"[0-9a-f]{16}")


class Canary(NamedTuple):
    """How requests are divided. share: decimal text, such as 0.1; seed: 16 hex digits."""

    share: str
    seed: str

    def require_valid(self) -> None:
        """Raise Refused for a share that is not between 0 and 1, or a seed of another form."""
        if not _SHARE.fullmatch(self.share) or float(self.share) == 0:
            raise Refused(
                f"the share {self.share[:20]!a} is not between 0 and 1, with at most four decimals",
                fix="write it as 0.1: a tenth of the requests",
            )
        if not _SEED.fullmatch(self.seed):
            raise Refused("the seed is not 16 hexadecimal digits", fix="leave it out: one is drawn")


def find_deployment(index: LedgerEntries, model: str) -> Deployment:
    """Return which releases of a model may answer, according to the completed changes. Raises CorruptedError."""
    stack = history.build_rollback_stack(index, model)
    changes = list_changes(index, model)
    if not changes:
        return Deployment(model=model)
    last, since = changes[-1].entry, format_instant(changes[-1].entry.known_since)
    if last.action != "deploy":
        return Deployment(model=model, stable=stack[-1] if stack else "", since=since)
    return Deployment(
        model=model,
        stable=stack[-1] if stack else "",
        challenger=history.get_switched_release(last),
        mode="canary",
        share=last.text("share"),
        seed=last.text("seed"),
        since=since,
    )


def is_changing(index: LedgerEntries, model: str) -> bool:
    """Return whether a change of a model's deployment has begun, and not completed, after the last completed one."""
    changes = list_changes(index, model)
    last = changes[-1].index if changes else -1
    return any(
        change.index > last and change.entry.text("model") == model
        for action in DEPLOYMENT_ACTIONS
        for change in index.list_entries(action=action)
    )


def list_changes(index: LedgerEntries, model: str) -> list[IndexedEntry]:
    """List the completed changes of a model's deployment, in ledger order."""
    changes = [change for action in DEPLOYMENT_ACTIONS for change in index.list_entries(action=action, phase="done")]
    return sorted(
        (change for change in changes if change.entry.text("model") == model), key=lambda change: change.index
    )


def deploy_challenger(
    release: Release,
    canary: Canary,
    release_context: ReleaseContext,
    *,
    step: Recorder,
    note_facts: Mapping[str, JsonValue],
) -> Deployment:
    """Let a release answer a share of the requests of its model, or change the share of the challenger.

    note_facts: of the note that a user signed. The caller's job holds the resource `release:MODEL` and has integrated
    the ledger. Raises Refused for a release without the approval of a second person, that is the stable one, that was
    not compared with it, or that needs other keys; NotFound, CorruptedError for a release that cannot be loaded.
    """
    canary.require_valid()
    current = find_deployment(release_context.index, release.model)
    with step("check", release.subject, inputs=[build_release_ref(release)], facts={"model": release.model}):
        _check_deployable(release, current, release_context)
    facts: dict[str, JsonValue] = {
        **note_facts,
        "model": release.model,
        "stable": current.stable,
        "mode": "canary",
        "share": canary.share,
        "seed": canary.seed,
    }
    with (
        release_context.fence.fence_writes(f"release:{release.model}"),
        step("deploy", release.subject, inputs=[build_release_ref(release)], intent=True, facts=facts),
    ):
        step.crash_point("release.deploy:intent")
        _write_challenger(release.model, release.id, release_context)
        step.crash_point("release.deploy:challenger-set")
    return current.model_copy(
        update={"challenger": release.id, "mode": "canary", "share": canary.share, "seed": canary.seed}
    )


def undeploy_challenger(
    model: str, release_context: ReleaseContext, *, step: Recorder, note_facts: Mapping[str, JsonValue]
) -> Deployment:
    """End the role of the challenger of a model: the stable release answers every request. Raises Refused."""
    current = find_deployment(release_context.index, model)
    if not current.challenger:
        raise Refused(f"{model} has no challenger", fix=f"see `wellspring history {model}`")
    release = release_context.release_store.get(current.challenger)
    facts: dict[str, JsonValue] = {**note_facts, "model": model, "stable": current.stable}
    with (
        release_context.fence.fence_writes(f"release:{model}"),
        step("undeploy", release.subject, inputs=[build_release_ref(release)], intent=True, facts=facts),
    ):
        step.crash_point("release.undeploy:intent")
        _write_challenger(model, "", release_context)
        step.crash_point("release.undeploy:challenger-removed")
    return current.model_copy(update={"challenger": "", "mode": "", "share": "", "seed": ""})


def complete_deployment(entry: Entry, release_context: ReleaseContext) -> None:
    """Repeat the write of a `deploy` or `undeploy` that a crash interrupted; the caller completes its intent."""
    challenger = history.get_switched_release(entry) if entry.action == "deploy" else ""
    _write_challenger(entry.text("model"), challenger, release_context)


def restore_challenger_file(model: str, release_context: ReleaseContext) -> None:
    """Write the file of a model's challenger again if a failed change left another one than the ledger names."""
    challenger = find_deployment(release_context.index, model).challenger
    if release_context.release_store.challenger_id(model) != challenger:
        _write_challenger(model, challenger, release_context)


def _write_challenger(model: str, challenger: str, release_context: ReleaseContext) -> None:
    """Write the file that shows the change. The fence checks again, in case the process was paused after the intent."""
    with release_context.fence.fence_writes(f"release:{model}"):
        release_context.release_store.set_challenger(model, challenger)


def _check_deployable(release: Release, current: Deployment, release_context: ReleaseContext) -> None:
    if find_approval(release_context.index, release) is None:
        raise Refused.because(
            release.subject,
            "not_approved",
            f"{release.subject} is not approved by a second person",
            fix=f"run `wellspring release approve {release.id} --challenger`",
        )
    if not current.stable:
        raise Refused.because(
            release.subject,
            "no_stable_release",
            f"{release.model} has no live release beside which a challenger could answer",
            fix=f"run `wellspring release approve {release.id}`",
        )
    if current.stable == release.id:
        raise Refused.because(
            release.subject,
            "is_stable",
            f"{release.subject} is the live release",
            fix="deploy another release as the challenger",
        )
    require_current_comparison(release, release_context)
    stable = release_context.release_store.get(current.stable)
    keys, stable_keys = (release_context.load_check(checked).keys for checked in (release, stable))
    if set(keys) != set(stable_keys):
        raise Refused.because(
            release.subject,
            "other_keys",
            f"{release.subject} needs the keys {', '.join(keys)}, and the live release {', '.join(stable_keys)}",
            fix="requests have the keys of one of them: release it as the live one",
        )
