"""Rotate the key that signs models: a new version signs, and the manifests of earlier ones stay valid."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.embedded.openbao_setup import supervisor_session
from wellspring.trust.keys.openbao import OpenBaoKeyVersions

if TYPE_CHECKING:
    from wellspring.project import Project
    from wellspring.records.observe import Recorder

MODEL_KEY = "models"


class _SupervisorLogin(NamedTuple):
    client: Any


def rotate_model_key(project: Project, now: datetime, *, step: Recorder) -> int | None:
    """Make a new version of the key `models` if the newest is older than `models.key_days`; return it, else None.

    Before the worker and the API start, which read the public keys of all versions then. Raises Unavailable when
    OpenBao does not respond.
    """
    if project.models is None or not project.models.key_days:
        return None
    lifetime = timedelta(days=project.models.key_days)
    with supervisor_session(project) as client:
        versions = OpenBaoKeyVersions(_SupervisorLogin(client), MODEL_KEY)
        if now - versions.created_at(versions.latest_version()) < lifetime:
            return None
        with step("rotate_key", f"key:{MODEL_KEY}") as act:
            version = versions.add_version()
            act.add_facts(version=version)
    return version
