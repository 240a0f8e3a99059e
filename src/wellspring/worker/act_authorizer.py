"""Authorize the act of a user when its job is submitted, as the workflow does again when it is executed.

The worker needs no credential for it: keys, proposals and findings are in the ledger's index, the releases and
candidates in their folder, the roles in wellspring.toml. Both times the same functions authenticate the author of the
note and build the question for the policies.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import JsonValue

from wellspring.bootstrap.policy_ports import load_policies_in_force
from wellspring.errors import CorruptedError, Refused
from wellspring.models.releases.store import ReleaseStore
from wellspring.project import Project
from wellspring.records.jobs import Job
from wellspring.records.observe import Recorder
from wellspring.records.user_notes import UserNote
from wellspring.trust import user_notes
from wellspring.trust.approvals import build_approval_act
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.user_acts import (
    UserAct,
    authorize_act,
    build_acknowledgement_act,
    build_deployment_act,
    build_drop_act,
    build_hold_act,
    build_proposal_act,
    build_rollback_act,
    build_undeployment_act,
)
from wellspring.trust.user_notes import NoteAuthor
from wellspring.worker.job_kinds import find_change, find_job_kind, find_model


class ActAuthorizer:
    """Decides on the acts that are submitted to one worker. Safe for threads.

    integrate: waits until the index holds every durable entry, so that an enrollment or a proposal of a moment ago
    counts. step: records the refusals.
    """

    def __init__(self, index: LedgerIndex, *, integrate: Callable[[], object], step: Recorder) -> None:
        self._index = index
        self._integrate = integrate
        self._step = step

    def authorize_job(self, project: Project, job: Job, note: UserNote) -> None:
        """Check who signed the note of a job and that they may do this act; each refusal is an `authorize` entry.

        Raises Refused; CorruptedError for a user with two keys; NotFound for an act on what does not exist; Unavailable
        when the ledger's sequencer does not respond.
        """
        self._integrate()
        action = find_job_kind(job.kind).action
        facts: dict[str, JsonValue] = {"job": job.id, "kind": job.kind, "note_digest": job.note_digest}
        claim = "claimed_principal"
        try:
            author = user_notes.authenticate_note(note, project, self._index)
            claim = "principal"
            act = self._build_act(project, job, author)
        except (Refused, CorruptedError):
            with self._step(
                "authorize", f"job:{job.id}", facts={claim: job.principal, "requested_action": action, **facts}
            ):
                raise
        policies = load_policies_in_force(project, self._index)
        authorize_act(policies, author.principal, act, step=self._step, facts=facts)

    def _build_act(self, project: Project, job: Job, author: NoteAuthor) -> UserAct:
        """Build the act that a job would execute. Raises Refused unless the author signed it."""
        lines = author.note.lines
        if job.kind in {"propose-change", "approve-change"}:
            change = find_change(project, job.subject)
            author.require_lines(change.signed_name, change.id, change.digest)
            if job.kind == "propose-change":
                return build_proposal_act("", change.id, kind=change.kind)
            return build_approval_act(change, author.principal.name, self._index)
        if job.kind == "approve":
            release = ReleaseStore(project.models_dir).get(job.subject)
            author.require_lines(release.model, release.id, release.digest)
            return build_approval_act(release, author.principal.name, self._index)
        if job.kind == "acknowledge":
            from wellspring.workflows.findings import find_finding, list_findings

            author.require_lines(job.subject, user_notes.hash_reason(str(job.parameters.get("reason", ""))), lines[2])
            return build_acknowledgement_act(job.subject, find_finding(list_findings(self._index), job.subject).source)
        if job.kind in {"hold", "lift_hold", "withdraw", "rejudge", "discard"}:
            from wellspring.workflows.drops import find_drop_source

            author.require_lines(job.subject, user_notes.hash_reason(str(job.parameters.get("reason", ""))), lines[2])
            if job.kind in {"hold", "lift_hold"}:
                return build_hold_act(job.kind, project.name)
            return build_drop_act(job.kind, job.subject, find_drop_source(self._index, job.subject))
        model = find_model(project, job.kind, job.subject)
        author.require_lines(model, *lines[1:])
        # The execution checks that the candidate's release, or the live one, is the one that the author signed.
        match job.kind:
            case "propose":
                return build_proposal_act(model, lines[1])
            case "deploy":
                return build_deployment_act(model, job.subject)
            case "undeploy":
                return build_undeployment_act(model)
            case _:
                return build_rollback_act(model)
