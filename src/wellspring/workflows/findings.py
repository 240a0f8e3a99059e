"""Findings about files of a source: list them from the ledger, acknowledge one as a user, close those that have ended.

The enclave records a finding once for each version of a file. A run of `ingest` reports a finding when it is the first
to see it. A finding ends by itself when its file was removed, was replaced or could be ingested; it opens again if the
same version of the file is back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

from wellspring.bootstrap.policy_ports import load_policies_in_force
from wellspring.errors import NotFound, Refused, suggest_name
from wellspring.records.record import format_instant
from wellspring.trust import user_notes
from wellspring.trust.user_acts import authorize_act, build_acknowledgement_act
from wellspring.workflows.reasons import check_reason

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform
    from wellspring.records.trust import IndexedEntry
    from wellspring.records.user_notes import UserNote
    from wellspring.trust.ledger.index import LedgerIndex

FindingState = Literal["open", "acknowledged", "closed"]
_STATES: dict[str, FindingState] = {"acknowledge": "acknowledged", "resolve": "closed", "reopen": "open"}
_OUTLIVING_CODES = ("overdue",)
"""Findings that do not end with a listing of their source."""


class FindingRecord(NamedTuple):
    """A finding and its state. name: as it may be shown. since: when it was recorded. user, reason: of who
    acknowledged it. changed_at: when the state changed last."""

    id: str
    source: str
    name: str
    code: str
    since: str
    message: str
    state: FindingState
    user: str
    reason: str
    changed_at: str


def list_findings(index: LedgerIndex, source: str | None = None) -> list[FindingRecord]:
    """List all findings of one source or of all, in the order in which they were recorded."""
    changes: dict[str, IndexedEntry] = {}
    for action in _STATES:
        for indexed in index.list_entries(action=action, phase="done"):
            subject = indexed.entry.subject
            is_latest = subject not in changes or changes[subject].index < indexed.index
            if indexed.entry.owner == "worker" and subject.startswith("finding:") and is_latest:
                changes[subject] = indexed
    return [
        _build_record(indexed, changes.get(f"finding:{indexed.entry.text('finding')}"))
        for indexed in index.list_entries(action="finding", phase="done")
        if indexed.entry.service == "enclave" and source in (None, indexed.entry.text("source"))
    ]


def acknowledge_finding(platform: Platform, finding_id: str, *, note: UserNote, reason: str = "") -> FindingRecord:
    """Acknowledge an open finding as the author of a note. Raises Refused, NotFound.

    The reason becomes a permanent fact of the ledger, so it must not contain personal data. A note that was executed
    before changes nothing.
    """
    platform.sequencer.integrate()
    index = platform.ledger.index
    author = user_notes.authenticate_note(note, platform.project, index)
    finding = find_finding(list_findings(index), finding_id)
    signed_at = note.lines[-1]
    author.require_lines(finding_id, user_notes.hash_reason(reason), signed_at)
    if user_notes.find_execution(note, index, "acknowledge") is not None:
        return finding
    if finding.state != "open":
        raise Refused(f"the finding {finding_id} is {finding.state}", fix="see `wellspring finding list --all`")
    check_reason(platform.project, reason)
    policies = load_policies_in_force(platform.project, platform.ledger.index)
    acknowledgement = build_acknowledgement_act(finding_id, finding.source)
    authorize_act(policies, author.principal, acknowledgement, step=platform.step)
    with platform.step("acknowledge", acknowledgement.resource.name) as act:
        act.add_facts(**author.facts, signed_at=signed_at, policy_digest=policies.digest, code=finding.code)
        if reason:
            act.add_facts(reason=reason)
    platform.sequencer.integrate()
    return find_finding(list_findings(index), finding_id)


def find_finding(findings: Iterable[FindingRecord], finding_id: str) -> FindingRecord:
    """Return the finding with an id. Raises NotFound with the nearest id."""
    by_id = {finding.id: finding for finding in findings}
    if finding_id not in by_id:
        raise NotFound(f"no finding {finding_id!r}", fix=suggest_name(finding_id, by_id))
    return by_id[finding_id]


class SourceFindings:
    """The findings of one source during a run of `ingest`."""

    def __init__(self, platform: Platform, source: str) -> None:
        self._platform = platform
        self._earlier = {finding.id: finding for finding in platform.drops.list_current_findings(source)}
        self._current: set[str] = set()
        self._ended: set[str] = set()

    def report_finding(self, finding_id: str) -> bool:
        """Note that a finding still applies; return whether this run is the first to report it."""
        is_first = finding_id not in self._current
        self._current.add(finding_id)
        if finding_id in self._earlier:
            return False
        if is_first and self._platform.drops.is_closed(finding_id):
            with self._platform.step("reopen", f"finding:{finding_id}"):
                pass
        return is_first

    def end_finding(self, finding_id: str) -> None:
        """Note that a finding has ended in this run, because its file was ingested."""
        self._current.discard(finding_id)

    def close_ended(self) -> None:
        """Close each finding that no listed file has any more."""
        for finding in self._earlier.values():
            if finding.code not in _OUTLIVING_CODES and finding.id not in self._current:
                with self._platform.step("resolve", f"finding:{finding.id}") as act:
                    act.add_facts(message="its file was removed, was replaced or could be ingested")
                self._ended.add(finding.id)

    def count_open(self) -> int:
        """Count the findings of the source that are open after this run."""
        outliving = {finding.id for finding in self._earlier.values() if finding.code in _OUTLIVING_CODES}
        return sum(
            finding_id not in self._earlier or self._earlier[finding_id].state != "acknowledged"
            for finding_id in (self._current | outliving) - self._ended
        )


def _build_record(indexed: IndexedEntry, change: IndexedEntry | None) -> FindingRecord:
    entry = indexed.entry
    changed = change.entry if change is not None else None
    acknowledged = changed is not None and changed.action == "acknowledge"
    return FindingRecord(
        id=entry.text("finding"),
        source=entry.text("source"),
        name=entry.text("shown"),
        code=entry.text("code"),
        since=format_instant(entry.known_since),
        message=entry.text("message"),
        state="open" if changed is None else _STATES[changed.action],
        user=changed.text("user") if changed is not None and acknowledged else "",
        reason=changed.text("reason") if changed is not None and acknowledged else "",
        changed_at=format_instant((changed or entry).known_since),
    )
