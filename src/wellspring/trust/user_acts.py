"""What the policies decide about an act of a user: the same question at its submission and at its execution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue

from wellspring.records.observe import Recorder
from wellspring.trust.authorization import require_authorization
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicyResource, PolicySet


class UserAct(NamedTuple):
    """One act on one resource. action: its name in the policies."""

    action: str
    resource: PolicyResource


def build_proposal_act(model: str, release_id: str, *, kind: str = "model") -> UserAct:
    """Build the act of a proposal. kind: of the release; model: '' for other kinds. Nobody proposed it before."""
    return UserAct("propose", PolicyResource(f"release:{release_id}", model=model, kind=kind))


def build_rollback_act(model: str) -> UserAct:
    """Build the act of a rollback of a model."""
    return UserAct("rollback", PolicyResource(f"model:{model}"))


def build_deployment_act(model: str, release_id: str) -> UserAct:
    """Build the act of the deployment of an approved release as the challenger of its model."""
    return UserAct("deploy", PolicyResource(f"release:{release_id}", model=model, kind="model"))


def build_undeployment_act(model: str) -> UserAct:
    """Build the act of ending the role of a model's challenger."""
    return UserAct("undeploy", PolicyResource(f"model:{model}"))


def build_acknowledgement_act(finding_id: str, source: str) -> UserAct:
    """Build the act of an acknowledgement of a finding about a file of a source."""
    return UserAct("acknowledge", PolicyResource(f"finding:{finding_id}", source=source))


def build_drop_act(action: str, drop: str, source: str) -> UserAct:
    """Build the act of a decision about a drop of a source. action: `withdraw`, `rejudge` or `discard`."""
    return UserAct(action, PolicyResource(f"drop:{drop}", source=source))


def build_hold_act(action: str, project: str) -> UserAct:
    """Build the act of a legal hold in a project. action: `hold` or `lift_hold`."""
    return UserAct(action, PolicyResource(f"project:{project}"))


def authorize_act(
    policies: PolicySet,
    user: Principal,
    act: UserAct,
    *,
    step: Recorder,
    facts: Mapping[str, JsonValue] | None = None,
) -> None:
    """Raise Refused, and record it, unless the policies permit the act. facts: more facts for the refusal's entry."""
    require_authorization(policies, user, act.action, act.resource, step=step, record_denials_only=True, facts=facts)
