"""The kinds of jobs: what each writes, which action the policies decide on, and how often it may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from wellspring.errors import NotFound, suggest_name
from wellspring.models.releases.candidates import read_candidate
from wellspring.models.releases.store import ReleaseStore
from wellspring.project import Project
from wellspring.records.changes import ChangeRelease
from wellspring.records.user_notes import NoteKind
from wellspring.trust.changes.activation import name_resource
from wellspring.trust.changes.store import ChangeStore
from wellspring.trust.policy import PolicyResource
from wellspring.workflows.changes.registry import find_change_kind

LAKE_RESOURCES = ("built", "landed")
"""What a job holds that completes interrupted work of the lake: it must not meet a job that is doing that work."""


class JobKind(NamedTuple):
    """One kind of job.

    action, name_resource: what the policies decide on. list_resources: the resources that a job with this subject
    writes. note_kind: of the signed note that the job of a person's act carries: `ActAuthorizer` and the workflow
    authenticate its author and ask the policies about the act. parameter_names: that its handler reads, beside the
    note. attempt_limit: starts, with those after a crash of the worker.
    """

    action: str
    name_resource: Callable[[Project, str], str]
    list_resources: Callable[[Project, str], tuple[str, ...]]
    note_kind: NoteKind | None = None
    parameter_names: frozenset[str] = frozenset()
    attempt_limit: int = 3


def _name_project(project: Project, _: str) -> str:
    return f"project:{project.name}"


def _name_model(_: Project, subject: str) -> str:
    return f"model:{subject}"


def _name_source(_: Project, subject: str) -> str:
    return f"source:{subject}"


def _write_nothing(_project: Project, _subject: str) -> tuple[str, ...]:
    return ()


def _write_lake(_project: Project, _subject: str) -> tuple[str, ...]:
    return LAKE_RESOURCES


def _write_lake_and_online_store(_project: Project, _subject: str) -> tuple[str, ...]:
    return (*LAKE_RESOURCES, "online")


def _write_build(_project: Project, _subject: str) -> tuple[str, ...]:
    """Return what a build of the released dbt code writes; the first is adopted."""
    return (*LAKE_RESOURCES, "online", name_resource("transform"))


def _write_lake_and_recorded_tables(_project: Project, _subject: str) -> tuple[str, ...]:
    return (*LAKE_RESOURCES, "recorded")


def _write_recorded_tables(_project: Project, _subject: str) -> tuple[str, ...]:
    return ("recorded",)


def _write_candidates(_: Project, model: str) -> tuple[str, ...]:
    return (f"training:{model}",)


def _write_draft(_: Project, model: str) -> tuple[str, ...]:
    return (*LAKE_RESOURCES, f"training:{model}")


def _write_pack(_: Project, subject: str) -> tuple[str, ...]:
    return (f"pack:{subject}",)


def _write_person_rows(_project: Project, _subject: str) -> tuple[str, ...]:
    return ("person_rows",)


def _write_findings(_project: Project, _subject: str) -> tuple[str, ...]:
    return ("findings",)


def _write_release(kind: str, project: Project, subject: str) -> tuple[str, ...]:
    """Return the live pointer and the release history of one model, which no act on another model reads or writes."""
    return (f"release:{find_model(project, kind, subject)}",)


def _write_changes(project: Project, subject: str) -> tuple[str, ...]:
    """Return what the changes of one kind write. subject: KIND:NAME of a draft, or the id of a release."""
    kind = find_change_kind(subject.partition(":")[0] if ":" in subject else find_change(project, subject).kind)
    return (name_resource(kind.kind), *kind.resources)


JOB_KINDS: Mapping[str, JobKind] = MappingProxyType(
    {
        "ingest": JobKind("ingest", _name_source, _write_lake),
        "replay": JobKind("replay_rows", _name_project, _write_lake),
        "transform": JobKind("transform", _name_project, _write_build),
        "refresh": JobKind("transform", _name_project, _write_lake_and_online_store),
        "train": JobKind("train", _name_model, _write_candidates, parameter_names=frozenset({"revision"})),
        "evaluate": JobKind("train", _name_model, _write_candidates, parameter_names=frozenset({"revision"})),
        "train-draft": JobKind("train", _name_model, _write_draft, parameter_names=frozenset({"revision"})),
        "reproduce": JobKind("train", _name_model, _write_candidates, parameter_names=frozenset({"run"})),
        "replay-predictions": JobKind(
            "replay_predictions", _name_project, _write_nothing, parameter_names=frozenset({"predictions"})
        ),
        "record-outcomes": JobKind("record_outcomes", _name_project, _write_recorded_tables),
        "prove": JobKind("prove", _name_project, _write_pack),
        "propose": JobKind("propose", _name_project, partial(_write_release, "propose"), "proposal"),
        "approve": JobKind(
            "approve", _name_project, partial(_write_release, "approve"), "release", frozenset({"challenger"})
        ),
        "deploy": JobKind("deploy", _name_project, partial(_write_release, "deploy"), "deployment"),
        "undeploy": JobKind("undeploy", _name_project, partial(_write_release, "undeploy"), "undeployment"),
        "rollback": JobKind("rollback", _name_project, partial(_write_release, "rollback"), "rollback"),
        "draft-change": JobKind("draft_change", _name_project, _write_changes),
        "propose-change": JobKind("propose", _name_project, _write_changes, "proposal"),
        "approve-change": JobKind("approve", _name_project, _write_changes, "release"),
        "retain": JobKind("retain", _name_project, _write_lake_and_recorded_tables),
        "backfill": JobKind("replay_rows", _name_project, _write_person_rows),
        "hold": JobKind("hold", _name_project, _write_lake, "hold", frozenset({"reason"})),
        "lift_hold": JobKind("lift_hold", _name_project, _write_lake, "lift_hold", frozenset({"reason"})),
        "withdraw": JobKind("withdraw", _name_project, _write_lake, "withdrawal", frozenset({"reason"})),
        "rejudge": JobKind("rejudge", _name_project, _write_lake, "rejudgement", frozenset({"reason"})),
        "discard": JobKind("discard", _name_project, _write_lake, "discard", frozenset({"reason"})),
        "acknowledge": JobKind("acknowledge", _name_project, _write_findings, "acknowledgement", frozenset({"reason"})),
    }
)
"""The kinds by name."""


def find_job_kind(name: str) -> JobKind:
    """Return a kind of job. Raises NotFound with the nearest name."""
    if name not in JOB_KINDS:
        raise NotFound(f"no kind of job {name!r}", fix=suggest_name(name, JOB_KINDS))
    return JOB_KINDS[name]


def require_known_parameters(kind: str, names: Collection[str]) -> None:
    """Raise NotFound for a parameter that jobs of a kind do not read. Unknown names are not repeated."""
    job_kind = find_job_kind(kind)
    readable = job_kind.parameter_names | ({"note"} if job_kind.note_kind else frozenset[str]())
    if unknown := len(set(names) - readable):
        listed = ", ".join(sorted(readable)) or "none"
        raise NotFound(f"{unknown} parameters of the job are unknown", fix=f"parameters of {kind}: {listed}")


def find_change(project: Project, change_id: str) -> ChangeRelease:
    """Return a drafted or proposed change. Raises NotFound with the nearest id."""
    return ChangeStore(project.changes_dir).get(change_id)


def find_model(project: Project, kind: str, subject: str) -> str:
    """Return the model of an act on a candidate, a release or a model. Raises NotFound with the nearest id."""
    if kind in {"rollback", "undeploy"}:
        return subject
    store = ReleaseStore(project.models_dir)
    return (
        store.get(subject).model if kind in {"approve", "deploy"} else read_candidate(subject, paths=store.paths).model
    )


def build_policy_resource(project: Project, kind: str, subject: str) -> PolicyResource:
    """Build the resource that the policies decide on for a job."""
    return PolicyResource(find_job_kind(kind).name_resource(project, subject))
