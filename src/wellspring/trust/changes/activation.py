"""Make released changes live: one pointer for each kind and name, which moves between an intent and its completion.

The pointer moves last: what a kind does so that its content acts (`apply`) comes before. `recover_changes` completes
what a crash interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from pydantic import JsonValue

from wellspring.errors import CorruptedError, Refused
from wellspring.records.changes import ChangeDraft, ChangeKindName, ChangeRelease
from wellspring.records.clock import Clock
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest
from wellspring.records.trust import Entry, IndexedEntry, Ref
from wellspring.stores.locks.port import WriteFence
from wellspring.trust.approvals import LedgerEntries, ReleaseApproval, find_approval, list_proposers
from wellspring.trust.changes.store import ChangeStore, build_change, check_change_digest
from wellspring.trust.modes import find_mode_period

SWITCH_ACTIONS = ("adopt", "activate")
"""adopt: the first content of a kind and name, as it was on disk; activate: a proposal."""
ApplyChange = Callable[[ChangeRelease], None]
"""What a kind does so that the content of a release acts, beside the pointer. Idempotent: a recovery repeats it."""


class ChangeContext(NamedTuple):
    """The stores that an activation uses. fence: around each switch."""

    store: ChangeStore
    ledger: LedgerEntries
    fence: WriteFence


def name_resource(kind: ChangeKindName) -> str:
    """Return the resource that a job holds to propose and activate changes of a kind."""
    return f"change:{kind}"


def adopt_content(
    kind: ChangeKindName,
    name: str,
    content: Digest,
    context: ChangeContext,
    *,
    tenant: str,
    clock: Clock,
    apply: ApplyChange,
    step: Recorder,
) -> ChangeRelease:
    """Make the first content of a kind and name live, as it is on disk; nobody approves it, and the entry says so.

    The caller holds the resource of the kind and has integrated the ledger. Raises Refused if a release was live.
    """
    if find_live_change(context.ledger, kind, name):
        raise Refused(f"{kind}:{name} has a live release already", fix=f"run {propose_command(kind, name)}")
    draft = ChangeDraft(content=content, summary=("the first, as it was on disk",), needs_second_person=False)
    change = context.store.save(build_change(kind, name, draft, replaces="", tenant=tenant, clock=clock))
    _switch(change, "adopt", {}, context, apply=apply, step=step)
    return change


def activate_change(
    change: ChangeRelease, person: str, context: ChangeContext, *, apply: ApplyChange, step: Recorder
) -> None:
    """Make a proposed change live. person: who approved it, or who proposed one that needs no second person.

    The caller holds the resource of the kind and has integrated the ledger. A live release stays live. Raises Refused
    for a release that is not approved, or that replaces another release than the live one; CorruptedError.
    """
    live_id = require_live_pointer(change.kind, change.name, context)
    if live_id == change.id:
        return
    with step("check", change.subject, inputs=[_ref(change)], facts={"kind": change.kind, "name": change.name}):
        check_change_digest(change, Refused)
        require_current(change, context)
        require_signatures(change, context.ledger)
    _switch(change, "activate", {"user": person}, context, apply=apply, step=step)


def require_current(change: ChangeRelease, context: ChangeContext) -> None:
    """Raise Refused unless a change replaces what is live now."""
    live_id = context.store.live_id(change.kind, change.name)
    if change.replaces != live_id:
        message = (
            f"{change.subject} was drafted to replace release {change.replaces or 'none'} of {change.signed_name}, "
            f"but {live_id or 'none'} is live now"
        )
        raise Refused.because(
            change.subject, "superseded", message, fix=f"propose it again: {propose_command(change.kind, change.name)}"
        )


def require_signatures(change: ChangeRelease, index: LedgerEntries) -> ReleaseApproval | None:
    """Return the approval of a change, None if it needs none. Raises Refused without the signatures that it needs."""
    approval = find_approval(index, change)
    if approval is None and change.needs_second_person:
        raise Refused.because(
            change.subject,
            "not_approved",
            f"{change.subject} is not approved by a second person",
            fix=f"run `wellspring release approve {change.id}` as another user",
        )
    if approval is None and not list_proposers(index, change):
        raise Refused.because(
            change.subject,
            "not_proposed",
            f"{change.subject} was not proposed with its current content",
            fix="see `wellspring release list`",
        )
    return approval


def recover_changes(
    kind: ChangeKindName,
    open_intents: Iterable[IndexedEntry],
    context: ChangeContext,
    *,
    apply: ApplyChange,
    step: Recorder,
) -> tuple[ChangeRelease, ...]:
    """Complete the switches of a kind that a crash interrupted; idempotent once the caller integrated.

    The caller holds the resource of the kind. A switch that failed after its pointer moved is completed too. Raises
    CorruptedError.
    """
    recovered: list[ChangeRelease] = []
    for indexed in sorted(open_intents, key=lambda item: item.index):
        entry = indexed.entry
        if entry.action not in SWITCH_ACTIONS or entry.text("kind") != kind:
            continue
        change = context.store.get(entry.subject.removeprefix("release:"))
        live_id = context.store.live_id(change.kind, change.name)
        if _ref(change) not in entry.inputs or live_id not in {change.id, change.replaces}:
            raise CorruptedError(
                f"{entry.id} expects {change.replaces or 'no release'} to be live before {entry.subject}, "
                f"but {live_id or 'none'} is live",
                fix=_POINTER_FIX,
            )
        with context.fence.fence_writes(name_resource(kind)):
            apply(change)
            _set_live(change, context)
            _complete_intent(entry, entry.id, step)
        recovered.append(change)
    return tuple(recovered) or _complete_failed_switches(kind, context, step)


def require_live_pointer(kind: ChangeKindName, name: str, context: ChangeContext) -> str:
    """Return the id of the live release, '' before the first. Raises CorruptedError unless the ledger says the same."""
    recorded, live_id = find_live_change(context.ledger, kind, name), context.store.live_id(kind, name)
    if recorded != live_id:
        raise CorruptedError(
            f"the live pointer of {kind}:{name} names {live_id or 'no release'}, but the ledger names "
            f"{recorded or 'no release'}",
            fix=_POINTER_FIX,
        )
    return live_id


def find_live_change(index: LedgerEntries, kind: ChangeKindName, name: str) -> str:
    """Return the id of the release that the last completed switch of a kind and name made live; '' before the first."""
    switches = [switch for switch in _list_switches(index, kind, name) if switch.entry.phase == "done"]
    return switches[-1].entry.subject.removeprefix("release:") if switches else ""


def check_in_force(change: ChangeRelease | None, kind: ChangeKindName, name: str, ledger: LedgerEntries) -> None:
    """Raise CorruptedError unless the log says that a pointer names what is live: the reader does not trust its writer.

    A switch that runs may have moved the pointer already; what it made live has the signatures that it needs.
    """
    recorded, live_id = find_live_change(ledger, kind, name), "" if change is None else change.id
    if recorded != live_id and (change is None or recorded != change.replaces):
        raise CorruptedError(
            f"the live pointer of {kind}:{name} names {live_id or 'no release'}, but the ledger names "
            f"{recorded or 'no release'}",
            fix=_POINTER_FIX,
        )
    if change is None or not change.replaces or _is_of_development(change, ledger):
        return
    try:
        require_signatures(change, ledger)
    except Refused as exc:
        raise CorruptedError(f"{change.subject} is live: {exc.what}", fix=_POINTER_FIX) from None


def _is_of_development(change: ChangeRelease, ledger: LedgerEntries) -> bool:
    """Return whether a change went live before the project was governed: what was in force then stays in force."""
    switches = [item for item in _list_switches(ledger, change.kind, change.name) if item.entry.phase == "done"]
    if not switches or switches[-1].entry.subject != change.subject:
        return False
    return not find_mode_period(ledger).includes(switches[-1].index)


def propose_command(kind: ChangeKindName, name: str) -> str:
    """Return the command that proposes a change of a kind and name."""
    return f"`wellspring release propose --kind {kind}" + (f" {name}`" if kind == "contract" else "`")


def _switch(
    change: ChangeRelease,
    action: str,
    facts: Mapping[str, JsonValue],
    context: ChangeContext,
    *,
    apply: ApplyChange,
    step: Recorder,
) -> None:
    entry_facts: dict[str, JsonValue] = {
        "kind": change.kind,
        "name": change.name,
        "previous_release": change.replaces,
        "second_person": change.needs_second_person and action == "activate",
        **facts,
    }
    with (
        # Around the intent: a stale one would stop the recovery of the next holder.
        context.fence.fence_writes(name_resource(change.kind)),
        step(
            action,
            change.subject,
            inputs=[_ref(change)],
            outputs=[change.content_ref],
            intent=True,
            facts=entry_facts,
        ),
    ):
        step.crash_point("change.activate:intent")
        apply(change)
        step.crash_point("change.activate:applied")
        _set_live(change, context)
        step.crash_point("change.activate:live-set")


def _set_live(change: ChangeRelease, context: ChangeContext) -> None:
    """Move the pointer. The fence checks again, in case the process was paused after the intent was written."""
    with context.fence.fence_writes(name_resource(change.kind)):
        context.store.set_live(change)


def _complete_failed_switches(
    kind: ChangeKindName, context: ChangeContext, step: Recorder
) -> tuple[ChangeRelease, ...]:
    """Complete the newest switch of each name of a kind if it failed after its pointer moved."""
    completed: list[ChangeRelease] = []
    for change in context.store.list_live():
        ended = _list_switches(context.ledger, kind, change.name) if change.kind == kind else []
        last = ended[-1].entry if ended else None
        if last is None or last.phase != "failed" or last.intent is None or _ref(change) not in last.inputs:
            continue
        with context.fence.fence_writes(name_resource(kind)):
            _complete_intent(last, last.intent, step)
        completed.append(change)
    return tuple(completed)


def _complete_intent(entry: Entry, intent: str, step: Recorder) -> None:
    facts = {name: value for name, value in entry.facts.items() if name not in {"error", "verdict"}}
    step.complete_after_crash(entry.action, entry.subject, intent, facts={**facts, "recovered": True})


def _list_switches(index: LedgerEntries, kind: ChangeKindName, name: str) -> list[IndexedEntry]:
    """List the switches of a kind and name that completed or failed, in ledger order."""
    ended = [
        indexed
        for action in SWITCH_ACTIONS
        for indexed in index.list_entries(action=action)
        if indexed.entry.phase in {"done", "failed"}
        and (indexed.entry.text("kind"), indexed.entry.text("name")) == (kind, name)
    ]
    return sorted(ended, key=lambda indexed: indexed.index)


def _ref(change: ChangeRelease) -> Ref:
    return Ref(name=change.subject, digest=change.digest)


_POINTER_FIX = "keep all files; the pointer was changed without a ledger entry"
