"""Two people, not one: who proposed a release, who approved it, and what each of them signed.

The approver signs the release note of `wellspring_verify.approvals`, so that anybody can check it offline: four lines,
"wellspring release v1", the model, the release's id, its digest, each ended by a newline. A proposer signs the same
four lines under "wellspring proposal v1", so neither signature can stand for the other.

The caller holds the writer's lock and has integrated the ledger first: of two approvals at once the second finds the
first.
"""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple, Protocol

from wellspring.errors import Broken, Refused
from wellspring.records.models import Release
from wellspring.records.observe import Step
from wellspring.records.trust import Entry, Logged, Phase, Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.decide import demand
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import Policies, Resource
from wellspring_verify import approvals as notes
from wellspring_verify import canonical
from wellspring_verify.canonical import Malformed

ENROLLER = "supervisor"
"""The one service whose word counts on whose key is whose; nobody else can write in its journal."""


class Signer(Protocol):
    """Somebody who is here now (`trust.identity.people.Person`). public: 32 bytes; key: the key's id."""

    @property
    def principal(self) -> Principal: ...

    @property
    def public(self) -> bytes: ...

    @property
    def key(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


class Ledger(Protocol):
    """What is asked of the ledger's index."""

    def entries(
        self, *, subject: str | None = None, action: str | None = None, phase: Phase | None = None
    ) -> list[Logged]: ...


class Approval(NamedTuple):
    """A release that holds: who proposed it, who approved it. entry, place: where that stands, once integrated."""

    person: str
    proposers: frozenset[str]
    key: str
    signature: str
    entry: str = ""
    place: int = -1


def digest_of(release: Release) -> str:
    """Return what `release.digest` must be: SHA-256 of the canonical JSON of what is approved."""
    content = release.model_dump(mode="json", exclude={"id", "digest", "tenant", "known_since"})
    return hashlib.sha256(canonical.dumps(content)).hexdigest()


def resource(release: Release, proposers: frozenset[str] = frozenset()) -> Resource:
    """Name a release for the policies."""
    return Resource(release.subject, model=release.model, proposers=proposers)


def propose(release: Release, candidate: Ref, person: Signer, *, index: Ledger, policies: Policies, step: Step) -> None:
    """Ask for a release, as a person. candidate: the one that it releases, pinned. Raises Refused, Broken.

    Proposing again changes nothing for who else may approve: everybody who ever proposed it is one of its authors.
    What is approved is not asked for again: its approver would become one of its authors.
    """
    _whole(release)
    demand(policies, person.principal, "propose", resource(release), step=step, hot=True)
    name = person.principal.name
    with step("propose", release.subject, inputs=[candidate], outputs=[_pinned(release)]) as act:
        act.note(person=name, key=person.key, policy=policies.digest)
        if approved(index, release):
            raise _no(release, "approved_already", f"{release.subject} is approved already: nobody need ask for it")
        _enrolled_as(index, person)
        act.note(signature=_signed(person, _proposal(release)))


def approve(release: Release, person: Signer, index: Ledger, policies: Policies, *, step: Step) -> Approval:
    """Approve a release, as a second person, and sign it. Raises Refused (each refusal is recorded), Broken."""
    name = person.principal.name
    with step("approve", release.subject, inputs=[_pinned(release)], outputs=[_pinned(release)]) as act:
        act.note(person=name, key=person.key, policy=policies.digest)
        _whole(release)
        if approved(index, release) is not None:
            raise _no(release, "approved_already", f"{release.subject} is approved already")
        proposers = _proposers(index, release)
        if not proposers:
            raise _no(release, "not_proposed", f"nobody has proposed {release.subject} as it now is")
        if name in proposers:
            raise _no(release, "self_approval", f"{name} proposed {release.subject}: somebody else must approve it")
        demand(policies, person.principal, "approve", resource(release, proposers), step=step, hot=True)
        _enrolled_as(index, person)
        signature = _signed(person, notes.text(release.model, release.id, release.digest))
        act.note(signature=signature)
    return Approval(name, proposers, person.key, signature)


def approved(index: Ledger, release: Release) -> Approval | None:
    """Return the approval under which a release may be served; None if there is none for exactly these bytes.

    Raises Broken for an entry that claims to be one and is not: signed by another key, or by one of its authors.
    """
    _whole(release)
    for logged in index.entries(subject=release.subject, action="approve", phase="done"):
        entry = logged.entry
        if _pinned(release) not in entry.outputs:
            # It approved other bytes under this id: for these it says nothing.
            continue
        name = _text(entry, "person")
        signature = _text(entry, "signature")
        public = _public(index, name, before=logged.index)
        message = notes.text(release.model, release.id, release.digest)
        if public is None or not _holds(public, signature, message):
            raise Broken(
                f"{entry.id} says that {name} approved {release.subject}, and the signature is not theirs",
                fix="do not serve it; keep everything, and see `wellspring ledger verify`",
            )
        proposers = _proposers(index, release, before=logged.index)
        if name in proposers or not proposers:
            raise Broken(
                f"{entry.id} says that {name} approved {release.subject}, and no second person did",
                fix="do not serve it; keep everything, and see `wellspring ledger verify`",
            )
        return Approval(name, proposers, _text(entry, "key"), signature, entry.id, logged.index)
    return None


def _proposers(index: Ledger, release: Release, *, before: int | None = None) -> frozenset[str]:
    """Name everybody who proposed exactly these bytes. Raises Broken for a proposal that its person did not sign."""
    found: set[str] = set()
    for logged in index.entries(subject=release.subject, action="propose", phase="done"):
        entry = logged.entry
        if _pinned(release) not in entry.outputs or (before is not None and logged.index > before):
            continue
        name = _text(entry, "person")
        public = _public(index, name, before=logged.index)
        if public is None or not _holds(public, _text(entry, "signature"), _proposal(release)):
            raise Broken(
                f"{entry.id} says that {name} proposed {release.subject}, and the signature is not theirs",
                fix="do not serve it; keep everything, and see `wellspring ledger verify`",
            )
        found.add(name)
    return frozenset(found)


def _public(index: Ledger, name: str, *, before: int | None = None) -> str | None:
    """Return the public key (base64) that a person was enrolled with; None for a stranger. Raises Broken for two."""
    subject = f"person:{name.removeprefix('user:')}"
    keys = {
        _text(logged.entry, "public")
        for logged in index.entries(subject=subject, action="enrol", phase="done")
        if logged.entry.service == ENROLLER and (before is None or logged.index < before)
    }
    if len(keys) > 1:
        raise Broken(
            f"{subject} was enrolled with two keys", fix="stop: a second key is for a reset, and there is none"
        )
    return keys.pop() if keys else None


def _enrolled_as(index: Ledger, person: Signer) -> None:
    """Make sure that the key in OpenBao is the one that the ledger knows. Raises Refused, Broken."""
    name = person.principal.name
    public = _public(index, name)
    if public is None:
        raise Refused(f"the ledger knows no enrolment of {name}", fix="run `wellspring people enrol`, then try again")
    if public != base64.b64encode(person.public).decode():
        raise Broken(f"{name} was enrolled with another key than the one in OpenBao", fix="stop; keep everything")


def _signed(person: Signer, message: bytes) -> str:
    signature = base64.b64encode(person.sign(message)).decode()
    if not _holds(base64.b64encode(person.public).decode(), signature, message):
        raise Broken(f"OpenBao's signature of {person.principal.name} does not hold", fix="stop; keep everything")
    return signature


def _holds(public: str, signature: str, message: bytes) -> bool:
    try:
        return notes.holds(public, signature, message)
    except Malformed:
        return False


def _proposal(release: Release) -> bytes:
    return notes.text(release.model, release.id, release.digest).replace(b"release", b"proposal", 1)


def _whole(release: Release) -> None:
    """Raises Refused for a release whose digest is not that of its content: whatever was approved, it was not this."""
    if release.digest != digest_of(release) or release.id != release.digest[:12]:
        raise _no(release, "changed", f"{release.subject} is not what its digest says: it was changed")


def _no(release: Release, code: str, what: str) -> Refused:
    verdict = Verdict(subject=release.subject, outcome="fail", reasons=(Reason(code=code, what=what),))
    return Refused(what, fix="see `wellspring release list`", verdict=verdict)


def _pinned(release: Release) -> Ref:
    return Ref(name=release.subject, digest=release.digest)


def _text(entry: Entry, name: str) -> str:
    value = entry.facts.get(name)
    return value if isinstance(value, str) else ""
