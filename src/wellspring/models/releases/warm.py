"""Which releases are warm: their features are kept built and online, so that each can answer at once."""

from __future__ import annotations

from wellspring.models.releases.deployments import find_deployment
from wellspring.models.releases.history import (
    build_rollback_stack,
    get_switched_release,
    list_switched_models,
    was_live,
)
from wellspring.models.releases.store import ReleaseStore
from wellspring.records.models import Release
from wellspring.trust.approvals import LedgerEntries


def list_warm_releases(index: LedgerEntries, store: ReleaseStore, *, keep_warm: int) -> tuple[Release, ...]:
    """List, of each model, the live release, the challenger, the `keep_warm` before it, and a newest proposal.

    The proposal only if it was never live. The live releases come first. Raises CorruptedError for a log whose switches
    contradict each other.
    """
    proposed: dict[str, Release] = {}
    for indexed in index.list_entries(action="propose", phase="done"):
        if not any(ref.name.startswith("candidate:") for ref in indexed.entry.inputs):
            # The release of a change: of policies, dbt code or a contract.
            continue
        release = store.get(get_switched_release(indexed.entry))
        proposed[release.model] = release
    stacks = [[*reversed(build_rollback_stack(index, model))] for model in list_switched_models(index)]
    live = [store.get(release_id) for stack in stacks for release_id in stack[:1]]
    deployments = [find_deployment(index, model) for model in list_switched_models(index)]
    challengers = [store.get(deployment.challenger) for deployment in deployments if deployment.challenger]
    warm = [store.get(release_id) for stack in stacks for release_id in list(dict.fromkeys(stack))[1 : 1 + keep_warm]]
    waiting = [release for release in proposed.values() if not was_live(index, release.model, release.id)]
    return tuple({release.id: release for release in (*live, *challengers, *warm, *waiting)}.values())
