"""From a vendor's drop to a landed edition: receive, and replay what waited in quarantine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from wellspring.data import accounts
from wellspring.data import contract as contracts
from wellspring.errors import NotFound, Refused
from wellspring.journey.proving import kept_contracts, seal_edition
from wellspring.project import nearest
from wellspring.records.data import Account, Contract, Edition, Intake, Listed
from wellspring.records.record import Frozen
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict

if TYPE_CHECKING:
    from wellspring.assembly import Assembly
    from wellspring.data.lake import Staged

Progress = Callable[[str, int, int], None]
Fate = Literal["published", "waiting", "stopped", "finding"]
AT_ONCE = 100
"""Files that become one edition at most."""
SAID = {
    "changed": "the bytes changed under a name that was already taken; ask the vendor for a new name",
    "unmatched": "the name fits no contract, or several, or is too long, or holds personal data; it waits untouched",
}


class Outcome(Frozen):
    """What became of one file. account: of its drop, None for a file that never became one."""

    name: str
    fate: Fate
    drop: str | None = None
    contract: str | None = None
    reasons: tuple[Reason, ...] = ()
    account: Account | None = None


class Received(Frozen):
    """What one run of `receive` or `replay` did.

    edition: what readers see now; fresh: whether this run published it. age_seconds: since it was published.
    verdict: fail when a drop stopped and its set therefore waits.
    """

    source: str
    verdict: Verdict
    outcomes: tuple[Outcome, ...]
    edition: Edition | None
    fresh: bool
    age_seconds: int | None

    @property
    def did_nothing(self) -> bool:
        return not self.outcomes


def receive(house: Assembly, source: str, *, progress: Progress | None = None) -> Received:
    """Bring in what is new in a source; publish its whole set as one edition, or keep the last good one and say so."""
    house.project.source(source)
    recover(house)
    known = _promises(house)
    listed = [file for file in house.vault.listing(source) if file.state != "settling"]
    new = [file for file in listed if not _nothing_to_do(house, file)]
    outcomes: list[Outcome] = []
    fresh = False
    # An entry has 64 KiB, and the one of an edition names all its drops: a backfill becomes several editions.
    for start in range(0, max(len(new), 1), AT_ONCE):
        taken = [_take(house, file, known, progress) for file in new[start : start + AT_ONCE]]
        for each in taken:
            if each.fate == "stopped":
                _alert(house, each, _named(known, str(each.contract)))
        received = _close_the_set(house, source, taken)
        outcomes += received.outcomes
        fresh |= received.fresh
    return received.model_copy(update={"outcomes": tuple(outcomes), "fresh": fresh})


def replay(house: Assembly, drop: str, *, progress: Progress | None = None) -> Received:
    """Judge the rows of a drop that wait in quarantine again, by its contract as it stands, and publish what passes."""
    recover(house)
    landed = house.records.index.entries(subject=f"drop:{drop}", action="land", phase="done")
    if not landed:
        drops = [each.entry.subject.removeprefix("drop:") for each in house.records.index.entries(action="land")]
        raise NotFound(f"no drop {drop!r} in the ledger", fix=nearest(drop, sorted(set(drops))))
    facts = landed[0].entry.facts
    contract = _named(_promises(house), str(facts["contract"]))
    taken = house.vault.replay(drop, contract.digest, progress=progress)
    if taken.table is None or taken.admitted == 0:
        left = taken.quarantined
        raise Refused(
            f"none of the {left} rows that wait in {drop} keep {contract.name} {contract.version}",
            fix=f"see why with `wellspring quarantine show {drop}`, then mend the contract or ask for a new file",
            verdict=taken.verdict,
        )
    _stage(house, taken)
    house.step.reached("journey.replay:staged")
    outcome = Outcome(name=str(facts["name"]), fate="waiting", drop=drop, contract=contract.name, reasons=taken.reasons)
    return _close_the_set(house, contract.source, [outcome])


def recover(house: Assembly) -> None:
    """Finish what a crash left half done, before anything new: the log first, then each open publish."""
    house.sequencer.integrate()
    finished = house.lake.recover(house.records.index.open_intents(), step=house.step)
    if finished:
        house.sequencer.integrate()
    for edition in finished:
        seal_edition(house, edition)
    _confirm(house)
    _resume(house)


def account(house: Assembly, drop: str) -> Account:
    """Say where every row of a drop is. What is published is counted in the lake, the rest in the ledger."""
    # What was refused or failed moved no row.
    lines = house.records.index.entries(subject=f"drop:{drop}", phase="done")
    return accounts.account(lines, published=house.lake.account(drop).published)


# --- one file ---------------------------------------------------------------------------------------------------------


def _nothing_to_do(house: Assembly, file: Listed) -> bool:
    """Tell whether a file was dealt with: it is in the lake, or it was stopped and its owner was told."""
    if file.state != "taken" or file.drop is None:
        return False
    if house.lake.knows(file.drop, 0):
        return True
    return bool(house.records.index.entries(subject=f"drop:{file.drop}", action="alert", phase="done"))


def _promises(house: Assembly) -> tuple[Contract, ...]:
    """Read the project's contracts, and keep each by its digest: a story needs the contract of its own day."""
    here = house.project
    known = contracts.load_all(here.contracts, tenant=here.tenant, known_since=house.clock.now(), sources=here.sources)
    contracts.keep(here.contracts, kept_contracts(here))
    return known


def _take(house: Assembly, file: Listed, known: tuple[Contract, ...], progress: Progress | None) -> Outcome:
    """Ask the enclave for one file and stage what it hands out."""
    if file.state in {"changed", "unmatched"} or file.contract is None:
        # The enclave has recorded the finding; it is told again at each run until a person has acted.
        code = file.state if file.state in SAID else "unmatched"
        return Outcome(name=file.name, fate="finding", reasons=(Reason(code=code, what=SAID[code]),))
    contract = _named(known, file.contract)
    try:
        taken = house.vault.intake(file.source, file.name, contract.digest, progress=progress)
    except NotFound as gone:
        # Deleted while it was read, or its original's days are over: this file's own fate, not the run's.
        return Outcome(name=file.name, fate="finding", reasons=(Reason(code="gone", what=gone.what),))
    except Refused as refused:
        if refused.verdict is None or refused.verdict.outcome != "inconclusive":
            raise
        return Outcome(name=file.name, fate="finding", reasons=refused.verdict.reasons)
    if taken.table is None:
        return Outcome(
            name=file.name, fate="stopped", drop=taken.drop.id, contract=contract.name, reasons=taken.verdict.reasons
        )
    _stage(house, taken)
    house.step.reached("journey.receive:staged")
    return Outcome(name=file.name, fate="waiting", drop=taken.drop.id, contract=contract.name, reasons=taken.reasons)


def _stage(house: Assembly, taken: Intake) -> None:
    """Stage rows by the contract that admitted them: the project's own may have been edited since."""
    contract = contracts.load_kept(
        kept_contracts(house.project),
        taken.drop.contract_digest,
        tenant=house.project.tenant,
        known_since=house.clock.now(),
    )
    house.lake.stage(taken, contract, step=house.step)


def _resume(house: Assembly) -> None:
    """Stage each replayed part that the enclave handed out and a crash kept from the lake; it answers it again."""
    for each in house.records.index.entries(action="admit", phase="done"):
        drop, part = each.entry.subject.removeprefix("drop:"), accounts.number(each, "part")
        gone = accounts.given_up(house.records.index.entries(subject=each.entry.subject, action="retain", phase="done"))
        if part > 0 and part not in gone and accounts.number(each, "admitted") > 0 and not house.lake.knows(drop, part):
            judged_by = next(ref.digest for ref in each.entry.inputs if ref.name.startswith("contract:"))
            try:
                taken = house.vault.replay(drop, str(judged_by))
            except NotFound:
                # Its retention ended first: the enclave has discarded these rows, and said so.
                continue
            _stage(house, taken)


def _alert(house: Assembly, stopped: Outcome, contract: Contract) -> None:
    """Leave an alert record for the contract's owner: who must act, on what, and why.

    Written when all files of the run are taken: only a drop that lands after it can replace the stopped one.
    """
    with house.step("alert", f"drop:{stopped.drop}") as act:
        act.reads(Ref(name=f"contract:{contract.name}@{contract.version}", digest=contract.digest))
        act.note(
            contract=f"{contract.name}@{contract.version}",
            owner=contract.owner,
            contact=contract.contact,
            codes=list[JsonValue](sorted({reason.code for reason in stopped.reasons})),
        )


# --- the set ----------------------------------------------------------------------------------------------------------


def _close_the_set(house: Assembly, source: str, outcomes: list[Outcome]) -> Received:
    """Publish everything staged of this source as one edition, unless a drop of the set is stopped."""
    house.sequencer.integrate()
    staged = tuple(each for each in house.lake.staged() if each.source == source)
    stopped = _stopped(house, source)
    fresh = bool(staged) and not stopped
    if fresh:
        edition = house.lake.publish(source, staged, step=house.step)
        house.step.reached("journey.close:published")
        for each in staged:
            house.vault.settled(each.drop, each.part)
        house.step.reached("journey.close:settled")
        house.sequencer.integrate()
        seal_edition(house, edition)
        here = {each.drop for each in outcomes}
        outcomes += [_waited(house, each) for each in staged if each.drop not in here]
    now = house.lake.edition()
    reasons = tuple(
        Reason(code="set_waits", what=f"drop {drop} is stopped; the set waits until a good drop of {name} replaces it")
        for drop, name in stopped.items()
    )
    return Received(
        source=source,
        verdict=Verdict(subject=f"source:{source}", outcome="fail" if stopped else "pass", reasons=reasons),
        outcomes=tuple(_settle(house, each, fresh=fresh) for each in outcomes),
        edition=now,
        fresh=fresh,
        age_seconds=None if now is None else int((house.clock.now() - now.known_since).total_seconds()),
    )


def _waited(house: Assembly, staged: Staged) -> Outcome:
    """Tell of a drop that an earlier run staged, and this one published."""
    landed = house.records.index.entries(subject=f"drop:{staged.drop}", action="land", phase="done")
    name = str(landed[0].entry.facts["name"]) if landed else staged.drop
    return Outcome(name=name, fate="waiting", drop=staged.drop, contract=staged.contract)


def _settle(house: Assembly, outcome: Outcome, *, fresh: bool) -> Outcome:
    if outcome.drop is None:
        return outcome
    fate: Fate = "published" if fresh and outcome.fate == "waiting" else outcome.fate
    undeclared = accounts.undeclared(
        house.records.index.entries(subject=f"drop:{outcome.drop}", action="admit", phase="done")
    )
    return outcome.model_copy(
        update={
            "fate": fate,
            "reasons": (*outcome.reasons, *undeclared) if outcome.fate != "stopped" else outcome.reasons,
            "account": account(house, outcome.drop),
        }
    )


def _stopped(house: Assembly, source: str) -> dict[str, str]:
    """Name the drops (id -> contract) that stop this source's set.

    A stopped drop is replaced by a good one of its contract that landed after its owner was told: not by another
    file of the same run, which says nothing about it, and not by one of which no row could be admitted.
    """
    index = house.records.index
    landed = {
        each.entry.subject: each
        for each in index.entries(action="land", phase="done")
        if any(ref.name.startswith(f"source:{source}/") for ref in each.entry.inputs)
    }
    told = {each.entry.subject: each.index for each in index.entries(action="alert", phase="done")}
    stopped: dict[str, str] = {}
    good: list[tuple[str, int]] = []
    for each in index.entries(action="admit", phase="done"):
        land = landed.get(each.entry.subject)
        if land is None or each.entry.facts["part"] != 0:
            continue
        name = str(land.entry.facts["contract"])
        if each.entry.facts["outcome"] != "pass":
            stopped[each.entry.subject] = name
        elif accounts.number(each, "admitted") > 0:
            good.append((name, land.index))
    return {
        subject.removeprefix("drop:"): name
        for subject, name in stopped.items()
        if subject not in told or not any(one == name and at > told[subject] for one, at in good)
    }


def _confirm(house: Assembly) -> None:
    """Tell the enclave of each published part that it has not heard of: a crash came between publish and settle."""
    index = house.records.index
    done = {
        (each.entry.subject, accounts.number(each, "part")) for each in index.entries(action="settle", phase="done")
    }
    # The intent names the rows, and a `done` says that readers see them: of a failed publish there is none.
    published = {each.entry.subject for each in index.entries(action="publish", phase="done")}
    intents = [each.entry for each in index.entries(action="publish", phase="intent")]
    waits = {(each.drop, each.part) for each in house.lake.staged()}
    for name in {ref.name for intent in intents if intent.subject in published for ref in intent.inputs}:
        if not name.startswith("rows:"):
            # A built edition was made of a landed one: it moved no row.
            continue
        drop, _, part = name.removeprefix("rows:").rpartition("/")
        if (drop, int(part)) not in waits and (f"drop:{drop}", int(part)) not in done:
            house.vault.settled(drop, int(part))


# --- small readings ---------------------------------------------------------------------------------------------------


def _named(known: Iterable[Contract], name: str) -> Contract:
    by_name = {each.name: each for each in known}
    if name not in by_name:
        raise NotFound(f"no contract {name!r} in contracts/", fix=nearest(name, by_name))
    return by_name[name]
