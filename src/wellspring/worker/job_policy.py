"""Ask the policies whether a principal may run a kind of job: when it is submitted, and again when it starts."""

from __future__ import annotations

from wellspring.bootstrap import open_ledger_index
from wellspring.bootstrap.policy_ports import open_released_policies
from wellspring.project import Project
from wellspring.records.jobs import Job
from wellspring.records.observe import Recorder
from wellspring.records.verdict import Verdict
from wellspring.trust import policy
from wellspring.trust.authorization import require_authorization
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicySet
from wellspring.worker.job_kinds import build_policy_resource, find_job_kind

DEFAULT_POLICY = """\
@id("default: the project's owner runs every job")
permit (principal == Service::"owner", action, resource);
@id("default: the schedule of the project runs every job")
permit (principal == Service::"scheduler", action, resource);
"""
"""The policy on jobs of a project without policies of its own."""


def load_job_policies(project: Project) -> PolicySet:
    """Return the policies in force; the default policy if the project has none. Raises ProjectError, CorruptedError."""
    default = PolicySet({"default.cedar": DEFAULT_POLICY})
    return open_released_policies(project, open_ledger_index(project), default=default).load()


def build_principal(project: Project, name: str) -> Principal:
    """Return the principal of a job, a user with the roles of wellspring.toml as it is now."""
    user = project.users.get(name.removeprefix("user:")) if name.startswith("user:") else None
    return Principal(name, user.roles if user is not None else ())


def evaluate_job(project: Project, job: Job) -> Verdict:
    """Evaluate whether a job may run. Of a person's act, `ActAuthorizer` decides, and then the workflow."""
    kind = find_job_kind(job.kind)
    if kind.note_kind is not None:
        return Verdict(subject=f"job:{job.id}", outcome="pass", reasons=())
    return policy.evaluate_request(
        load_job_policies(project),
        build_principal(project, job.principal),
        kind.action,
        build_policy_resource(project, job.kind, job.subject),
        {},
    )


def record_refusal(project: Project, job: Job, *, step: Recorder) -> None:
    """Record that the policies refuse a job, and raise Refused."""
    kind = find_job_kind(job.kind)
    require_authorization(
        load_job_policies(project),
        build_principal(project, job.principal),
        kind.action,
        build_policy_resource(project, job.kind, job.subject),
        step=step,
        record_denials_only=True,
        facts={"job": job.id, "kind": job.kind},
    )
