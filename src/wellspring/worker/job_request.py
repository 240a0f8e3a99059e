"""What a job gets: its project, credential, subject, parameters, journal, and who runs code of the project for it."""

from __future__ import annotations

from typing import Any, NamedTuple

from wellspring.project import Project
from wellspring.records.jobs import RunIdentity
from wellspring.runtime.process import Credential
from wellspring.runtime.project_code import ProjectCode
from wellspring.stores.locks.port import WriteFence
from wellspring.workflows import WorkflowProgress


class JobRequest(NamedTuple):
    """One attempt of a job. journal: that it writes. run: named by its entries. fence: of the job's resources."""

    project: Project
    credential: Credential
    subject: str
    params: dict[str, Any]
    progress: WorkflowProgress
    journal: str
    run: RunIdentity
    project_code: ProjectCode
    fence: WriteFence
