"""Deployments: an approved release answers a share of the requests of its model beside the stable one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.bootstrap.policy_ports import load_policies_in_force
from wellspring.models.releases import deployments, promotion
from wellspring.trust import user_notes
from wellspring.trust.user_acts import UserAct, authorize_act, build_deployment_act, build_undeployment_act
from wellspring.workflows.release import recover_releases
from wellspring_verify import approvals as notes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import JsonValue

    from wellspring.bootstrap import ModelPorts, Platform
    from wellspring.records.deployments import Deployment
    from wellspring.records.user_notes import UserNote


def deploy_release(
    platform: Platform, models: ModelPorts, release_id: str, *, note: UserNote
) -> tuple[Deployment, str]:
    """Deploy an approved release as the challenger, as the author of a note signed it. Return it and the user.

    Raises Refused if another release is stable than the one that the author saw, and as `deploy_challenger` does.
    """
    release = models.releases.release_store.get(release_id)
    _, _, _, share, seed = (note.lines[1].split(":") + [""] * 5)[:5]

    def line(stable: str) -> str:
        return notes.deployment_line(stable, release.id, "canary", share, seed)

    def change(note_facts: Mapping[str, JsonValue]) -> Deployment:
        return deployments.deploy_challenger(
            release, deployments.Canary(share, seed), models.releases, step=platform.step, note_facts=note_facts
        )

    return _change_deployment(
        platform, models, note, build_deployment_act(release.model, release.id), release.model, line, change
    )


def undeploy_release(platform: Platform, models: ModelPorts, model: str, *, note: UserNote) -> tuple[Deployment, str]:
    """End the role of the challenger of a model, as the author of a note signed it. Raises Refused without one."""
    challenger = deployments.find_deployment(platform.ledger.index, model).challenger

    def line(stable: str) -> str:
        return notes.undeployment_line(stable, challenger)

    def change(note_facts: Mapping[str, JsonValue]) -> Deployment:
        return deployments.undeploy_challenger(model, models.releases, step=platform.step, note_facts=note_facts)

    return _change_deployment(platform, models, note, build_undeployment_act(model), model, line, change)


def _change_deployment(
    platform: Platform,
    models: ModelPorts,
    note: UserNote,
    act: UserAct,
    model: str,
    line: Callable[[str], str],
    change: Callable[[Mapping[str, JsonValue]], Deployment],
) -> tuple[Deployment, str]:
    """Change the deployment of a model once. line: of the note, for the release that is stable now."""
    recover_releases(platform, models.releases, model)
    author = user_notes.authenticate_note(note, platform.project, platform.ledger.index)
    current = deployments.find_deployment(platform.ledger.index, model)
    if user_notes.find_execution(note, platform.ledger.index, act.action) is not None:
        return current, author.principal.name
    author.require_lines(model, line(current.stable or "none"), note.lines[-1])
    policies = load_policies_in_force(platform.project, platform.ledger.index)
    authorize_act(policies, author.principal, act, step=platform.step)
    try:
        changed = change({**author.facts, "signed_at": note.lines[-1]})
    finally:
        platform.sequencer.integrate()
    promotion.try_sync_registry(model, models.releases)
    return changed, author.principal.name
