"""Legal holds: a user keeps a built edition longer than its retention says, until a user lifts the hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from wellspring.bootstrap.policy_ports import load_policies_in_force
from wellspring.errors import Refused
from wellspring.records.record import format_instant
from wellspring.trust import user_notes
from wellspring.trust.user_acts import authorize_act, build_hold_act
from wellspring.workflows.reasons import require_reason

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform
    from wellspring.records.user_notes import UserNote
    from wellspring.trust.ledger.index import LedgerIndex

HoldAction = Literal["hold", "lift_hold"]


class Hold(NamedTuple):
    """A hold that is in force. user, reason: of who added it."""

    edition: str
    since: str
    user: str
    reason: str


def list_holds(index: LedgerIndex) -> list[Hold]:
    """List the holds that are in force, in the order in which they were added."""
    changes = sorted(
        (
            indexed
            for action in ("hold", "lift_hold")
            for indexed in index.list_entries(action=action, phase="done")
            if indexed.entry.owner == "worker"
        ),
        key=lambda indexed: indexed.index,
    )
    holds: dict[str, Hold] = {}
    for entry in (indexed.entry for indexed in changes):
        edition = entry.subject.removeprefix("edition:")
        holds.pop(edition, None)
        if entry.action == "hold":
            holds[edition] = Hold(edition, format_instant(entry.known_since), entry.text("user"), entry.text("reason"))
    return list(holds.values())


def change_hold(platform: Platform, action: HoldAction, edition_id: str, *, note: UserNote, reason: str) -> list[Hold]:
    """Add a hold on an edition, or lift it, as the author of a note; return the holds in force.

    Raises NotFound for an edition that does not exist or was retired, Refused for a hold that is in force already, or
    that is not.
    """
    platform.sequencer.integrate()
    index = platform.ledger.index
    author = user_notes.authenticate_note(note, platform.project, index)
    author.require_lines(edition_id, user_notes.hash_reason(reason), note.lines[-1])
    if user_notes.find_execution(note, index, action) is not None:
        return list_holds(index)
    require_reason(platform.project, reason)
    require_changeable(platform, action, edition_id)
    policies = load_policies_in_force(platform.project, platform.ledger.index)
    authorize_act(policies, author.principal, build_hold_act(action, platform.project.name), step=platform.step)
    with platform.step(action, f"edition:{edition_id}") as act:
        act.add_facts(**author.facts, signed_at=note.lines[-1], policy_digest=policies.digest, reason=reason)
    platform.sequencer.integrate()
    return list_holds(index)


def require_changeable(platform: Platform, action: HoldAction, edition_id: str) -> None:
    """Raise NotFound or Refused for a hold that cannot be added or lifted."""
    is_held = edition_id in {hold.edition for hold in list_holds(platform.ledger.index)}
    if action == "lift_hold":
        if not is_held:
            raise Refused(f"no hold is on edition {edition_id}", fix="see `wellspring hold list`")
        return
    platform.lake.require_readable(edition_id)
    if is_held:
        raise Refused(f"a hold is on edition {edition_id} already", fix="see `wellspring hold list`")
