"""What a job gets: its project, credential, subject and parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

from wellspring.project import Project
from wellspring.runtime.process import Credential
from wellspring.workflows import WorkflowProgress


class JobRequest(NamedTuple):
    """One job: its project, credential, subject and further parameters by name."""

    project: Project
    credential: Credential | None
    subject: str
    params: dict[str, Any]
    progress: WorkflowProgress
