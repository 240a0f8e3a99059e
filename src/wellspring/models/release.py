"""A release is served whole or not at all: kept under its digest, pointed to once two people stand behind it, and back.

One pointer a model says what answers. It moves after the intent is in the ledger and before the end is; what a crash
leaves in between, `recover` carries out. MLflow shows the same thing and decides nothing: its alias is a projection.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import JsonValue, ValidationError

from wellspring.errors import Broken, NotFound, Refused, Unavailable
from wellspring.models import switches
from wellspring.models.artefact import Artefact, read_candidate
from wellspring.models.registry import Live
from wellspring.models.switches import fact
from wellspring.project import nearest
from wellspring.records.data import Edition
from wellspring.records.models import Candidate, Release
from wellspring.records.observe import Step
from wellspring.records.record import Digest
from wellspring.records.trust import Entry, Logged, Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.stores.objects.disk import DiskPaths
from wellspring.trust.approvals import Ledger, approved, digest_of, resource
from wellspring.trust.decide import demand
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import Policies, Resource
from wellspring_verify import canonical

_KEPT, _LIVE = "releases", "live"
_MODEL = re.compile(r"[a-z][a-z0-9_]{0,62}")
Check = Callable[[Release], object]
"""Loads what a release names, and raises unless every byte is what it says."""


class Editions(Protocol):
    """What is asked of the lake."""

    def edition(self, edition_id: str | None = None) -> Edition | None: ...


class Projection(Protocol):
    """What is asked of the registry (`models.registry.Registry`)."""

    def told(self, run: str) -> object: ...

    def reconcile(self, model: str, live: Live | None) -> tuple[str, ...]: ...


class House(NamedTuple):
    """Where releases are kept, remembered and shown. check: `serving.load`, bound: what the API does."""

    releases: Releases
    index: Ledger
    lake: Editions
    registry: Projection
    check: Check


class Carrier(NamedTuple):
    """Who carries out what another approved before, and the policies that must let this person approve it too."""

    person: Principal
    policies: Policies


class Releases:
    """The folder of releases: `releases/ID.json`, write once, and one pointer a model, `live/MODEL`."""

    def __init__(self, folder: Path) -> None:
        self.paths = DiskPaths(folder)

    def keep(self, release: Release) -> Release:
        """Write it down; of one digest the first stays, whatever was composed again later. Raises Refused, Broken."""
        _whole(release, Refused)
        try:
            return self.get(release.id)
        except NotFound:
            self.paths.write_once(f"{_KEPT}/{release.id}.json", canonical.dumps(release.model_dump(mode="json")))
            return release

    def get(self, release_id: str) -> Release:
        """Return a release. Raises NotFound with the nearest id, Broken when its bytes are others."""
        try:
            content = self.paths.read(f"{_KEPT}/{release_id}.json")
        except NotFound:
            raise NotFound(f"no release {release_id[:40]!a}", fix=nearest(release_id, list(self.ids()))) from None
        try:
            release = Release.model_validate(canonical.loads_strict(content), strict=False)
        except (canonical.Malformed, ValidationError):
            raise Broken(f"release {release_id} is no release any more", fix=_COPY) from None
        _whole(release, Broken)
        if release.id != release_id:
            raise Broken(f"release {release_id} holds another release", fix=_COPY)
        return release

    def ids(self) -> tuple[str, ...]:
        """List the ids of all releases that are kept."""
        return tuple(name.removeprefix(f"{_KEPT}/").removesuffix(".json") for name in self.paths.list(_KEPT))

    def models(self) -> tuple[str, ...]:
        """List the models of which a release is live."""
        return tuple(name.removeprefix(f"{_LIVE}/") for name in self.paths.list(_LIVE))

    def pointed(self, model: str) -> str:
        """Return the id of the release that is live, '' before the first."""
        try:
            return self.paths.read(_pointer(model)).decode("ascii", "replace").strip()
        except NotFound:
            return ""

    def live(self, model: str) -> Release | None:
        """Return the release that is live, None before the first. Raises Broken."""
        pointed = self.pointed(model)
        return self.get(pointed) if pointed else None

    def point(self, release: Release) -> None:
        """Let it answer from now on."""
        self.paths.swap(_pointer(release.model), f"{release.id}\n".encode())

    def moved(self, model: str) -> tuple[int, int] | None:
        """Say by which write the pointer is as it is, without reading it; None before the first, or for no name."""
        if not _MODEL.fullmatch(model):
            return None
        try:
            found = os.stat(self.paths.folder / _pointer(model))
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def named_editions(self) -> frozenset[str]:
        """Name the editions that any kept release stands on: each may be rolled back to, and replayed."""
        return frozenset(self.get(each).edition for each in self.ids())


def compose(
    candidate: Candidate,
    artefact: Artefact,
    policy: Digest,
    *,
    threshold: str | None = None,
    labels: tuple[str, str] | None = None,
) -> Release:
    """Put together what somebody may propose. policy: digest of the project's policies.

    threshold, labels: the model's own where they are not given. Known since its candidate is. Raises Refused.
    """
    if artefact.digest != candidate.artefact or artefact.recipe.model != candidate.model:
        raise Refused(f"{candidate.subject} was not judged with this artefact", fix="compose it with its own")
    chosen = threshold if threshold is not None else artefact.recipe.threshold
    try:
        inside = 0 < Decimal(chosen) < 1
    except InvalidOperation:
        inside = False
    if not inside:
        raise Refused("a threshold is a decimal between 0 and 1", fix="write it as 0.25")
    blank = Release(
        id="",
        digest="",
        model=candidate.model,
        candidate=candidate.id,
        artefact=artefact.digest,
        views=candidate.views,
        preprocessing=hashlib.sha256(artefact.recipe.encode()).hexdigest(),
        threshold=chosen,
        labels=labels or artefact.recipe.labels,
        edition=candidate.edition,
        policy=policy,
        tenant=candidate.tenant,
        known_since=candidate.known_since,
    )
    digest = digest_of(blank)
    return blank.model_copy(update={"id": digest[:12], "digest": digest})


def promote(release: Release, person: str, house: House, *, step: Step, carrier: Carrier | None = None) -> None:
    """Let a release answer. person: who approved it; carrier: who carries that out, where it was approved before.

    The caller holds the writer's lock, and has integrated. What is live already stays so, and MLflow is told again.
    Raises Refused for what two people do not stand behind, what was taken back, what was not judged beside what is live
    now, or whose edition is gone; Broken for bytes that are not as named; Unavailable when MLflow does not answer,
    before anything has moved.
    """
    line = _line(release.model, house)
    if line[-1:] != [release.id]:
        facts: dict[str, JsonValue] = {"model": release.model, "former": line[-1] if line else "", "person": person}
        if carrier is not None:
            facts["carried_out_by"] = carrier.person.name
        with step("judge", release.subject, inputs=[pinned(release)], facts=facts):
            _fit(release, house, carrier, step=step)
        with step("promote", release.subject, inputs=[pinned(release)], intent=True, facts=facts):
            step.reached("release.promote:intent")
            house.releases.point(release)
            step.reached("release.promote:pointed")
    _shown(release.model, house)
    step.reached("release.promote:projected")


def rollback(model: str, person: Principal, house: House, *, policies: Policies, step: Step) -> Release:
    """Serve again, whole, what was served before; a second time goes further back. No approval, but always a person.

    MLflow is told if it answers: it must not keep anybody from going back. Raises Refused, Broken.
    """
    if not person.name.startswith("user:"):
        raise Refused(f"{person.name} is no person", fix="log in: whoever takes a release back answers for it")
    demand(policies, person, "rollback", Resource(f"model:{model}"), step=step, hot=True)
    line = _line(model, house)
    if len(line) < 2:
        raise Refused(f"nothing was live of {model} before {line[0] if line else 'now'}", fix="approve another release")
    back = house.releases.get(line[-2])
    house.check(back)
    facts: dict[str, JsonValue] = {"model": model, "former": line[-1], "person": person.name}
    with step("rollback", back.subject, inputs=[pinned(back)], intent=True, facts=facts):
        step.reached("release.rollback:intent")
        house.releases.point(back)
        step.reached("release.rollback:pointed")
    _shown(model, house)
    return back


def recover(open_intents: Iterable[Logged], house: House, *, step: Step) -> tuple[Release, ...]:
    """Bring pointer and ledger together again; the caller integrates, then again changes nothing. Raises Broken.

    Each switch whose intent was written and whose end was not is carried out. One that failed after the pointer had
    moved is live: it is settled, so that its answers can be proved and it can be taken back.
    """
    finished: list[Release] = []
    for each in sorted(open_intents, key=lambda logged: logged.index):
        entry = each.entry
        if entry.action not in switches.SWITCHES:
            continue
        release = house.releases.get(switches.switched(entry))
        now = house.releases.pointed(release.model)
        if pinned(release) not in entry.inputs or now not in {release.id, fact(entry, "former")}:
            raise Broken(
                f"{entry.id} wanted {entry.subject} to follow {fact(entry, 'former') or 'nothing'}, and {now} is live",
                fix=_PAST,
            )
        house.releases.point(release)
        _settle(entry, entry.id, step)
        finished.append(release)
    known = {each.model for each in finished}
    for model in house.releases.models():
        failed = None if model in known else switches.failed_last(house.index, model)
        if failed is None or failed.intent is None or switches.switched(failed) != house.releases.pointed(model):
            continue
        release = house.releases.get(switches.switched(failed))
        line = switches.line(house.index, model)
        if pinned(release) in failed.inputs and (line[-1] if line else "") == fact(failed, "former"):
            _settle(failed, failed.intent, step)
            finished.append(release)
    for model in sorted({each.model for each in finished}):
        _shown(model, house)
    return tuple(finished)


def _settle(entry: Entry, intent: str, step: Step) -> None:
    facts = {name: value for name, value in entry.facts.items() if name not in {"error", "verdict"}}
    step.settle(entry.action, entry.subject, intent, facts={**facts, "recovered": True})


def project(model: str, house: House) -> tuple[str, ...]:
    """Make MLflow show what is live, and return what had to be changed there. Raises Unavailable."""
    release = house.releases.live(model)
    if release is None:
        return house.registry.reconcile(model, None)
    approval = approved(house.index, release)
    by = approval.person if approval is not None else ""
    return house.registry.reconcile(model, Live(_run(release, house), release.id, by))


def refuse_retiring(edition: Edition, releases: Releases) -> None:
    """Raise Refused for an edition that any kept release stands on: it could be neither replayed nor rolled back to."""
    if edition.id in releases.named_editions():
        raise Refused(
            f"{edition.subject} is named by a release, and cannot be retired",
            fix="retire another edition: what was released must stay possible to replay",
        )


def pinned(release: Release) -> Ref:
    """Name a release by its digest."""
    return Ref(name=release.subject, digest=release.digest)


def refuse_uncompared(release: Release, house: House) -> None:
    """Raise Refused unless the candidate of a release passed its gate, beside what is live now."""
    judged = house.index.entries(subject=f"candidate:{release.candidate}", action="gate", phase="done")
    entry = judged[-1].entry if judged else None
    artefact = Ref(name=f"artefact:{release.model}", digest=release.artefact)
    if entry is None or fact(entry, "outcome") != "pass" or artefact not in entry.inputs:
        raise _no(release, "gate_not_passed", f"the candidate of {release.subject} has not passed the gate")
    live = house.releases.live(release.model)
    now, beside = live.candidate if live is not None else "", fact(entry, "live")
    if beside != now:
        what = f"{release.subject} was judged beside {beside or 'nothing'}, and {now or 'nothing'} is live now"
        raise _no(release, "judged_against_another", what, fix=_AGAIN.format(release.model))


def _fit(release: Release, house: House, carrier: Carrier | None, *, step: Step) -> None:
    """Raise unless a release may answer, and its carrier may see to it."""
    _whole(release, Refused)
    house.releases.get(release.id)
    given = approved(house.index, release)
    if given is None:
        raise _no(release, "not_approved", f"{release.subject} is not approved by a second person")
    if switches.was_live(house.index, release.model, release.id):
        what = f"{release.subject} was live before, and was taken back or replaced: its approval does not count again"
        raise _no(release, "taken_back", what, fix=_AGAIN.format(release.model))
    if carrier is not None:
        who = carrier.person
        if who.name in given.proposers:
            what = f"{who.name} proposed {release.subject}: somebody else must carry out what was approved"
            raise _no(release, "self_approval", what)
        demand(carrier.policies, who, "approve", resource(release, given.proposers), step=step, hot=True)
    refuse_uncompared(release, house)
    try:
        house.lake.edition(release.edition)
    except NotFound:
        raise _no(release, "edition_gone", f"the edition of {release.subject} is gone from the lake") from None
    house.check(release)
    # Asked before anything moves: a projection that nobody can see is noticed too late.
    house.registry.told(_run(release, house))


def _line(model: str, house: House) -> list[str]:
    """List the releases that one could go back through. Raises Broken unless the pointer says the same."""
    line, now = switches.line(house.index, model), house.releases.pointed(model)
    if (line[-1] if line else "") != now:
        raise Broken(
            f"the ledger says that {line[-1] if line else 'nothing'} is live of {model}, and {now or 'nothing'} is",
            fix=_PAST,
        )
    return line


def _run(release: Release, house: House) -> str:
    return read_candidate(release.candidate, paths=house.releases.paths).run


def _shown(model: str, house: House) -> None:
    """Let MLflow show what is live, once the ledger says so: nothing that goes wrong here may undo a switch."""
    try:
        project(model, house)
    except (Broken, NotFound, Unavailable):
        # The release is live all the same, and the next switch, or `approve` of what is live, makes MLflow follow.
        return


def _whole(release: Release, kind: type[Refused] | type[Broken]) -> None:
    if release.digest != digest_of(release) or release.id != release.digest[:12]:
        raise kind(f"release {release.id[:12]!a} is not what its digest says", fix=_COPY)


def _no(release: Release, code: str, what: str, *, fix: str = "see `wellspring release list`") -> Refused:
    verdict = Verdict(subject=release.subject, outcome="fail", reasons=(Reason(code=code, what=what),))
    return Refused(what, fix=fix, verdict=verdict)


def _pointer(model: str) -> str:
    if not _MODEL.fullmatch(model):
        raise NotFound("no model can have such a name", fix="a name is lower-case letters, digits and underscores")
    return f"{_LIVE}/{model}"


_COPY = "do not serve it; restore its file from a copy, and verify the ledger"
_AGAIN = "run `wellspring learn {}`: a new candidate is judged beside what is live now"
_PAST = "keep everything; somebody moved the pointer past the ledger"
