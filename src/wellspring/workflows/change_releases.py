"""Changes of policies, dbt code and contracts: drafted, proposed by one user, approved by another, live.

A draft says what changes in words, and has no authority. A proposal and an approval are signed notes over its digest,
as those of a model's release. A change that its kind lets one person make acts with its proposal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wellspring.bootstrap.policy_ports import load_policies_in_force
from wellspring.errors import NotFound, Refused, suggest_name
from wellspring.records.changes import ChangeRelease
from wellspring.records.record import Frozen
from wellspring.trust import approvals, user_notes
from wellspring.trust.changes import activation
from wellspring.trust.changes.activation import ChangeContext
from wellspring.trust.changes.store import ChangeStore, build_change
from wellspring.workflows.changes.port import ContentChange
from wellspring.workflows.changes.registry import find_change_kind
from wellspring.workflows.prove import seal_stories

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform
    from wellspring.records.user_notes import UserNote
    from wellspring.trust.ledger.index import LedgerIndex
    from wellspring.workflows.changes.port import ChangeKind
    from wellspring.workflows.ingest import WorkflowProgress


class DraftedChange(Frozen):
    """A change that can be proposed. details: of its kind. open_releases: ids of other open proposals of the same."""

    release: ChangeRelease
    details: dict[str, object] = {}
    open_releases: tuple[str, ...] = ()


class ChangeSummary(NamedTuple):
    """One proposed change. state: open, superseded, live, or replaced (it was live)."""

    release: ChangeRelease
    state: str
    proposed_by: str
    approved_by: str


def draft_change(platform: Platform, kind_name: str, name: str, *, progress: WorkflowProgress) -> DraftedChange:
    """Draft the release of what is on disk now, and keep both. name: '' if the project has one of this kind.

    Raises NotFound for an unknown name, ProjectError for files that cannot be read, Refused if nothing changes.
    """
    kind = find_change_kind(kind_name)
    name = name or _find_only_name(platform, kind)
    _recover(platform, kind)
    content = kind.store_content(platform, name)
    live = platform.changes.get_live(kind.kind, name)
    if live is not None and live.content == content:
        raise Refused(
            f"{kind.kind}:{name} on disk is what release {live.id} made live", fix="edit it, then propose it again"
        )
    progress("draft", 0, 1)
    draft = kind.describe_change(platform, ContentChange(name, None if live is None else live.content, content))
    change = build_change(
        kind.kind,
        name,
        draft,
        replaces="" if live is None else live.id,
        tenant=platform.project.tenant,
        clock=platform.clock,
    )
    kind.check_change(platform, change)
    change = platform.changes.save(change)
    open_ids = (
        summary.release.id
        for summary in list_changes(platform.changes, platform.ledger.index)
        if summary.state == "open" and summary.release.signed_name == change.signed_name
    )
    return DraftedChange(
        release=change,
        details={**draft.details},
        open_releases=tuple(change_id for change_id in open_ids if change_id != change.id),
    )


def propose_change(platform: Platform, change_id: str, *, note: UserNote) -> ChangeSummary:
    """Propose a drafted change as the author of a note; one that needs no second person becomes live.

    Raises Refused, NotFound, CorruptedError.
    """
    change = platform.changes.get(change_id)
    kind = find_change_kind(change.kind)
    _recover(platform, kind)
    index, context = platform.ledger.index, _open_context(platform)
    author = user_notes.authenticate_note(note, platform.project, index)
    author.require_lines(change.signed_name, change.id, change.digest)
    if context.store.live_id(change.kind, change.name) == change.id:
        # The proposal went live at once, and its job runs again after a crash.
        return _summarize(change, platform)
    try:
        with platform.step("check", change.subject, facts={"kind": change.kind, "name": change.name}):
            activation.require_live_pointer(change.kind, change.name, context)
            activation.require_current(change, context)
            _refuse_second_proposer(change, author.principal.name, index)
            kind.check_change(platform, change)
            if not change.needs_second_person:
                _require_single_person(platform, kind, change)
        approvals.record_proposal(
            change,
            change.content_ref,
            author,
            ledger=index,
            policies=load_policies_in_force(platform.project, index),
            step=platform.step,
        )
        platform.step.crash_point("workflows.propose_change:proposed")
    finally:
        platform.sequencer.integrate()
    if not change.needs_second_person:
        _activate(platform, kind, change, author.principal.name)
    return _summarize(change, platform)


def approve_change(platform: Platform, change_id: str, *, note: UserNote) -> ChangeSummary:
    """Approve a change as a second user, the author of a note, and make it live.

    An existing approval is executed only if the release was never live, that is, after a crash.
    """
    change = platform.changes.get(change_id)
    kind = find_change_kind(change.kind)
    _recover(platform, kind)
    index, context = platform.ledger.index, _open_context(platform)
    author = user_notes.authenticate_note(note, platform.project, index)
    author.require_lines(change.signed_name, change.id, change.digest)
    approval = approvals.find_approval(index, change)
    if approval is None:
        try:
            with platform.step("check", change.subject, facts={"kind": change.kind, "name": change.name}):
                # Refuse the approval of a change that could not become live.
                activation.require_current(change, context)
                kind.check_change(platform, change)
            policies = load_policies_in_force(platform.project, index)
            approval = approvals.record_approval(change, author, index, policies, step=platform.step)
            platform.step.crash_point("workflows.approve_change:approved")
        finally:
            platform.sequencer.integrate()
    _activate(platform, kind, change, approval.approver)
    return _summarize(change, platform)


def list_changes(store: ChangeStore, index: LedgerIndex) -> list[ChangeSummary]:
    """List the changes that were proposed or adopted, in the order of their ids. Raises CorruptedError."""
    summaries: list[ChangeSummary] = []
    live = {(change.kind, change.name): change.id for change in store.list_live()}
    for change_id in store.list_ids():
        change = store.get(change_id)
        proposers = approvals.list_proposers(index, change)
        switched = any(
            index.list_entries(subject=change.subject, action=action, phase="done")
            for action in activation.SWITCH_ACTIONS
        )
        if not proposers and not switched:
            continue
        live_id = live.get((change.kind, change.name), "")
        if live_id == change.id:
            state = "live"
        elif switched:
            state = "replaced"
        else:
            state = "open" if change.replaces == live_id else "superseded"
        approval = approvals.find_approval(index, change)
        summaries.append(
            ChangeSummary(change, state, ", ".join(sorted(proposers)), "" if approval is None else approval.approver)
        )
    return summaries


def adopt_first_content(platform: Platform, kind_name: str, name: str) -> ChangeRelease | None:
    """Make what is on disk live and record it, if no release of this kind and name was; None if one was.

    The caller holds the resource of the kind. Raises ProjectError for files that cannot be read.
    """
    kind = find_change_kind(kind_name)
    _recover(platform, kind)
    if activation.require_live_pointer(kind.kind, name, _open_context(platform)):
        return None
    try:
        return activation.adopt_content(
            kind.kind,
            name,
            kind.store_content(platform, name),
            _open_context(platform),
            tenant=platform.project.tenant,
            clock=platform.clock,
            apply=lambda change: kind.apply_change(platform, change),
            step=platform.step,
        )
    finally:
        platform.sequencer.integrate()


def _activate(platform: Platform, kind: ChangeKind, change: ChangeRelease, person: str) -> None:
    try:
        activation.activate_change(
            change,
            person,
            _open_context(platform),
            apply=lambda item: kind.apply_change(platform, item),
            step=platform.step,
        )
    finally:
        platform.sequencer.integrate()
    seal_stories(platform, [change.subject])


def _recover(platform: Platform, kind: ChangeKind) -> None:
    """Complete interrupted work: the ledger, then the changes of a kind."""
    platform.sequencer.integrate()
    recovered = activation.recover_changes(
        kind.kind,
        platform.ledger.index.list_open_intents(),
        _open_context(platform),
        apply=lambda change: kind.apply_change(platform, change),
        step=platform.step,
    )
    if recovered:
        platform.sequencer.integrate()


def _require_single_person(platform: Platform, kind: ChangeKind, change: ChangeRelease) -> None:
    """Raise Refused unless the kind still says that one person may make a change: its record alone proves nothing."""
    live = platform.changes.get_live(change.kind, change.name)
    live_content = None if live is None else live.content
    draft = kind.describe_change(platform, ContentChange(change.name, live_content, change.content))
    if draft.needs_second_person:
        raise Refused.because(
            change.subject,
            "needs_second_person",
            f"{change.subject} needs a second person, and its record says that it does not",
            fix=f"propose it again: {activation.propose_command(change.kind, change.name)}",
        )


def _refuse_second_proposer(change: ChangeRelease, user: str, index: LedgerIndex) -> None:
    proposers = approvals.list_proposers(index, change)
    if proposers and user not in proposers:
        raise Refused.because(
            change.subject,
            "already_proposed",
            f"{', '.join(sorted(proposers))} proposed {change.subject}, which is the same",
            fix=f"review and approve it: `wellspring release approve {change.id}`",
        )


def _summarize(change: ChangeRelease, platform: Platform) -> ChangeSummary:
    summaries = list_changes(platform.changes, platform.ledger.index)
    return next(summary for summary in summaries if summary.release.id == change.id)


def _find_only_name(platform: Platform, kind: ChangeKind) -> str:
    names = kind.list_names(platform.project)
    if len(names) == 1:
        return names[0]
    raise NotFound(
        f"the project has {len(names)} of kind {kind.kind}", fix=suggest_name("", names) if names else "write one first"
    )


def _open_context(platform: Platform) -> ChangeContext:
    return ChangeContext(platform.changes, platform.ledger.index, platform.fence)
