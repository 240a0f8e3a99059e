"""A rollback of a released model."""

from __future__ import annotations

from tests.builders.released_model import ANYTHING, Released
from wellspring.models.releases.promotion import (
    rollback_release,
)
from wellspring.records.models import Release
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicySet

BO = Principal("user:bo", ("approver",))


def go_back(project: Released, policies: PolicySet = ANYTHING, target: str | None = None) -> Release:
    return rollback_release("denials", BO, project.project, policies=policies, step=project.step, target=target)
