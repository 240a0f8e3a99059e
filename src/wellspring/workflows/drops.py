"""Drops and what a user decides about them: withdraw a drop, judge it again, discard its quarantined rows.

A decision is an entry of the enclave, which checks the user's signature itself; the lake is changed before it, so that
a crash in between loses nothing: the next run stages the same rows again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from wellspring.bootstrap.policy_ports import load_policies_in_force
from wellspring.data.contracts import contract as contracts
from wellspring.data.intake.drop_index import DropState, add_published
from wellspring.errors import NotFound, Refused, suggest_name
from wellspring.records.ingestion import RowAccount, SourceFile
from wellspring.records.record import format_instant
from wellspring.trust import user_notes
from wellspring.trust.user_acts import authorize_act, build_drop_act
from wellspring.workflows.ingest import admit_again, recover_interrupted_ingests
from wellspring.workflows.mended_contracts import discard_staged
from wellspring.workflows.reasons import require_reason

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform, ReadPorts
    from wellspring.records.contracts import DataContract
    from wellspring.records.trust import Entry
    from wellspring.records.user_notes import UserNote
    from wellspring.trust.ledger.index import LedgerIndex
    from wellspring.workflows.ingest import WorkflowProgress
    from wellspring.workflows.ingest_result import IngestResult

DropAction = Literal["withdraw", "rejudge", "discard"]
_DECISIONS: tuple[DropAction, ...] = ("withdraw", "rejudge", "discard")


class DropDecision(NamedTuple):
    """One decision about a drop. user: empty if it followed from a rule; then the reason is that rule."""

    action: str
    at: str
    user: str
    reason: str


class DropSummary(NamedTuple):
    """A drop, its state and its rows. kept_until: the retention of its original. codes: why it was stopped."""

    id: str
    name: str
    source: str
    contract: str
    state: str
    landed_at: str
    kept_until: str
    account: RowAccount
    codes: tuple[str, ...]
    decisions: tuple[DropDecision, ...]


def list_drops(ports: Platform | ReadPorts, *, source: str = "", limit: int | None = None) -> list[DropSummary]:
    """Describe the newest drops, of one source or of all, oldest first. limit: None for all."""
    listed = ports.drops.list_drops(newest=None if source else limit)
    states = ports.drops.list_states(listed)
    selected = [drop for drop, state in states.items() if source in ("", state.source)]
    return [_describe_drop(ports, drop, states[drop]) for drop in selected[-limit if limit else 0 :]]


def describe_drop(ports: Platform | ReadPorts, drop: str) -> DropSummary:
    """Describe one drop. Raises NotFound with the nearest id."""
    return _describe_drop(ports, drop, _find_state(ports, drop))


def withdraw_drop(platform: Platform, drop: str, *, note: UserNote, reason: str) -> DropSummary:
    """Take a drop that was not published out of its source, as the author of a note. Raises Refused, NotFound.

    Its original stays as long as its retention says, and only `rejudge_drop` admits it again.
    """
    recover_interrupted_ingests(platform)
    if not _is_executed(platform, "withdraw", drop, note, reason):
        if _find_state(platform, drop).is_withdrawn:
            raise Refused(f"drop {drop} was withdrawn before", fix=f"see `wellspring drop show {drop}`")
        _require_unpublished(platform, drop)
        discard_staged(platform, drop)
        platform.step.crash_point("workflows.withdraw:discarded")
        platform.vault.withdraw_drop(drop, note, reason)
        platform.step.crash_point("workflows.withdraw:withdrawn")
        platform.sequencer.integrate()
    return describe_drop(platform, drop)


def rejudge_drop(
    platform: Platform, drop: str, *, note: UserNote, reason: str, progress: WorkflowProgress | None = None
) -> IngestResult:
    """Judge a drop that was not published again, by the contract in force, and publish what is complete.

    Its original, which the enclave keeps, is read, not the vendor's file. Raises Refused, NotFound.
    """
    recover_interrupted_ingests(platform)
    file = _find_file(platform, drop)
    if _is_executed(platform, "rejudge", drop, note, reason):
        return admit_again(platform, file, None, progress=progress)

    def decide(contract: DataContract) -> None:
        _require_unpublished(platform, drop)
        platform.vault.check_rejudge(drop, contract.digest)
        discard_staged(platform, drop)
        # Before the decision: a table that cannot hold the rows would leave the drop waiting again.
        platform.lake.adapt_table(contract.name, contracts.egress_schema(contract))
        platform.step.crash_point("workflows.rejudge:discarded")
        platform.vault.rejudge_drop(drop, contract.digest, note, reason)
        platform.step.crash_point("workflows.rejudge:reset")

    return admit_again(platform, file, decide, progress=progress)


def discard_quarantined(platform: Platform, drop: str, *, note: UserNote, reason: str) -> DropSummary:
    """Discard the quarantined rows of a drop for ever, as the author of a note. Raises Refused, NotFound."""
    recover_interrupted_ingests(platform)
    if not _is_executed(platform, "discard", drop, note, reason):
        platform.vault.discard_quarantined(drop, note, reason)
        platform.step.crash_point("workflows.discard:discarded")
        platform.sequencer.integrate()
    return describe_drop(platform, drop)


def find_drop_source(index: LedgerIndex, drop: str) -> str:
    """Return the source of a drop that has landed. Raises NotFound with the nearest id."""
    return _source_and_name(_find_landing(index, drop))[0]


def _is_executed(platform: Platform, action: DropAction, drop: str, note: UserNote, reason: str) -> bool:
    """Return whether a note was executed before; otherwise check its author, the reason and the policies."""
    index = platform.ledger.index
    author = user_notes.authenticate_note(note, platform.project, index)
    author.require_lines(drop, user_notes.hash_reason(reason), note.lines[-1])
    if user_notes.find_execution(note, index, action) is not None:
        return True
    require_reason(platform.project, reason)
    policies = load_policies_in_force(platform.project, platform.ledger.index)
    act = build_drop_act(action, drop, find_drop_source(index, drop))
    authorize_act(policies, author.principal, act, step=platform.step)
    return False


def _require_unpublished(platform: Platform, drop: str) -> None:
    if platform.lake.count_drop_rows(drop).published:
        raise Refused(
            f"rows of drop {drop} are published, and published rows stay",
            fix="ask the vendor for a correction under a new name",
        )


def _find_state(ports: Platform | ReadPorts, drop: str) -> DropState:
    states = ports.drops.list_states([drop])
    if drop not in states:
        raise NotFound(f"no drop {drop!r} in the ledger", fix=suggest_name(drop, ports.drops.list_drops()))
    return states[drop]


def _find_file(platform: Platform, drop: str) -> SourceFile:
    """Return the file of a drop as it is listed before its admission."""
    landing = _find_landing(platform.ledger.index, drop)
    source, name = _source_and_name(landing)
    platform.project.require_source(source)
    return SourceFile(
        source=source,
        name=name,
        size=landing.count("size"),
        modified=landing.known_since,
        state="new",
        drop=drop,
        contract=landing.text("contract"),
    )


def _find_landing(index: LedgerIndex, drop: str) -> Entry:
    landed = index.list_entries(subject=f"drop:{drop}", action="land", phase="done")
    if not landed:
        drops = sorted(
            subject.removeprefix("drop:") for subject in index.list_subjects() if subject.startswith("drop:")
        )
        raise NotFound(f"no drop {drop!r} in the ledger", fix=suggest_name(drop, drops))
    return landed[0].entry


def _source_and_name(landing: Entry) -> tuple[str, str]:
    ref = next(ref.name for ref in landing.inputs if ref.name.startswith("source:"))
    source, _, name = ref.removeprefix("source:").partition("/")
    return source, name


def _describe_drop(ports: Platform | ReadPorts, drop: str, state: DropState) -> DropSummary:
    index = ports.ledger.index
    landing = _find_landing(index, drop)
    account = add_published(ports.drops.list_accounts([drop])[drop], ports.lake.count_drop_rows(drop).published)
    entries = index.list_entries(subject=f"drop:{drop}", phase="done")
    alerts = [indexed.entry for indexed in entries if indexed.entry.action == "alert"]
    codes = alerts[-1].facts.get("codes") if alerts and state.is_stopped else None
    return DropSummary(
        id=drop,
        name=_source_and_name(landing)[1],
        source=state.source,
        contract=state.contract,
        state=_name_state(state, account),
        landed_at=format_instant(landing.known_since),
        kept_until=landing.text("retention_until"),
        account=account,
        codes=tuple(map(str, codes)) if isinstance(codes, list) else (),
        decisions=tuple(
            DropDecision(
                indexed.entry.action,
                format_instant(indexed.entry.known_since),
                indexed.entry.text("user"),
                indexed.entry.text("reason") or _describe_rule(indexed.entry),
            )
            for indexed in entries
            if indexed.entry.action in _DECISIONS
        ),
    )


def _describe_rule(entry: Entry) -> str:
    copied = entry.text("same_bytes_as")
    return f"the same bytes as drop {copied}" if copied else entry.text("message")


def _name_state(state: DropState, account: RowAccount) -> str:
    if state.is_withdrawn or state.is_stopped:
        return "withdrawn" if state.is_withdrawn else "stopped"
    counts = {
        "waiting": account.waiting,
        "published": account.published,
        "quarantined": account.quarantined,
        "discarded": account.discarded,
        "copied": account.copies,
    }
    return next((name for name, rows in counts.items() if rows), "landed")
