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

from wellspring.errors import CorruptedError, Refused
from wellspring.records.models import Release
from wellspring.records.observe import Recorder
from wellspring.records.trust import Entry, EntryPhase, IndexedEntry, Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.authorization import require_authorization
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicyResource, PolicySet
from wellspring_verify import approvals as notes
from wellspring_verify import canonical
from wellspring_verify.canonical import MalformedError

ENROLLING_SERVICE = "supervisor"
"""The one service whose word counts on whose key is whose; nobody else can write in its journal."""


class UserSigner(Protocol):
    """Somebody who is here now (`trust.identity.people.Person`). public: 32 bytes; key: the key's id."""

    @property
    def principal(self) -> Principal: ...

    @property
    def public_key(self) -> bytes: ...

    @property
    def key_id(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


class LedgerEntries(Protocol):
    """What is asked of the ledger's index."""

    def list_entries(
        self, *, subject: str | None = None, action: str | None = None, phase: EntryPhase | None = None
    ) -> list[IndexedEntry]: ...


class ReleaseApproval(NamedTuple):
    """A release that holds: who proposed it, who approved it. entry, place: where that stands, once integrated."""

    approver: str
    proposers: frozenset[str]
    key_id: str
    signature: str
    entry_id: str = ""
    tree_index: int = -1


def compute_release_digest(release: Release) -> str:
    """Return what `release.digest` must be: SHA-256 of the canonical JSON of what is approved."""
    content = release.model_dump(mode="json", exclude={"id", "digest", "tenant", "known_since"})
    return hashlib.sha256(canonical.dumps_canonical(content)).hexdigest()


def release_resource(release: Release, proposers: frozenset[str] = frozenset()) -> PolicyResource:
    """Name a release for the policies."""
    return PolicyResource(release.subject, model=release.model, proposers=proposers)


def propose(
    release: Release, candidate: Ref, user: UserSigner, *, ledger: LedgerEntries, policies: PolicySet, step: Recorder
) -> None:
    """Ask for a release, as a person. candidate: the one that it releases, pinned. Raises Refused, Broken.

    Proposing again changes nothing for who else may approve: everybody who ever proposed it is one of its authors.
    What is approved is not asked for again: its approver would become one of its authors.
    """
    _require_unchanged(release)
    require_authorization(
        policies, user.principal, "propose", release_resource(release), step=step, record_denials_only=True
    )
    user_name = user.principal.name
    with step("propose", release.subject, inputs=[candidate], outputs=[_release_ref(release)]) as act:
        act.add_facts(user=user_name, key_id=user.key_id, policy_digest=policies.digest)
        if find_approval(ledger, release):
            raise _rejection(
                release, "already_approved", f"{release.subject} is approved already: nobody need ask for it"
            )
        _require_enrolled_key(ledger, user)
        act.add_facts(signature=_sign_message(user, _proposal_text(release)))


def approve(
    release: Release, user: UserSigner, ledger: LedgerEntries, policies: PolicySet, *, step: Recorder
) -> ReleaseApproval:
    """Approve a release, as a second person, and sign it. Raises Refused (each refusal is recorded), Broken."""
    user_name = user.principal.name
    with step("approve", release.subject, inputs=[_release_ref(release)], outputs=[_release_ref(release)]) as act:
        act.add_facts(user=user_name, key_id=user.key_id, policy_digest=policies.digest)
        _require_unchanged(release)
        if find_approval(ledger, release) is not None:
            raise _rejection(release, "already_approved", f"{release.subject} is approved already")
        proposers = _find_proposers(ledger, release)
        if not proposers:
            raise _rejection(release, "not_proposed", f"nobody has proposed {release.subject} as it now is")
        if user_name in proposers:
            raise _rejection(
                release, "self_approval", f"{user_name} proposed {release.subject}: somebody else must approve it"
            )
        require_authorization(
            policies,
            user.principal,
            "approve",
            release_resource(release, proposers),
            step=step,
            record_denials_only=True,
        )
        _require_enrolled_key(ledger, user)
        signature = _sign_message(user, notes.approval_text(release.model, release.id, release.digest))
        act.add_facts(signature=signature)
    return ReleaseApproval(user_name, proposers, user.key_id, signature)


def find_approval(ledger: LedgerEntries, release: Release) -> ReleaseApproval | None:
    """Return the approval under which a release may be served; None if there is none for exactly these bytes.

    Raises Broken for an entry that claims to be one and is not: signed by another key, or by one of its authors.
    """
    _require_unchanged(release)
    for logged in ledger.list_entries(subject=release.subject, action="approve", phase="done"):
        entry = logged.entry
        if _release_ref(release) not in entry.outputs:
            # It approved other bytes under this id: for these it says nothing.
            continue
        approver = _text_fact(entry, "user")
        signature = _text_fact(entry, "signature")
        public_key = _enrolled_public_key(ledger, approver, before_index=logged.index)
        message = notes.approval_text(release.model, release.id, release.digest)
        if public_key is None or not _is_valid_signature(public_key, signature, message):
            raise CorruptedError(
                f"{entry.id} says that {approver} approved {release.subject}, and the signature is not theirs",
                fix="do not serve it; keep everything, and see `wellspring ledger verify`",
            )
        proposers = _find_proposers(ledger, release, before_index=logged.index)
        if approver in proposers or not proposers:
            raise CorruptedError(
                f"{entry.id} says that {approver} approved {release.subject}, and no second person did",
                fix="do not serve it; keep everything, and see `wellspring ledger verify`",
            )
        return ReleaseApproval(approver, proposers, _text_fact(entry, "key_id"), signature, entry.id, logged.index)
    return None


def _find_proposers(ledger: LedgerEntries, release: Release, *, before_index: int | None = None) -> frozenset[str]:
    """Name everybody who proposed exactly these bytes. Raises Broken for a proposal that its person did not sign."""
    proposers: set[str] = set()
    for logged in ledger.list_entries(subject=release.subject, action="propose", phase="done"):
        entry = logged.entry
        if _release_ref(release) not in entry.outputs or (before_index is not None and logged.index > before_index):
            continue
        name = _text_fact(entry, "user")
        public_key = _enrolled_public_key(ledger, name, before_index=logged.index)
        if public_key is None or not _is_valid_signature(
            public_key, _text_fact(entry, "signature"), _proposal_text(release)
        ):
            raise CorruptedError(
                f"{entry.id} says that {name} proposed {release.subject}, and the signature is not theirs",
                fix="do not serve it; keep everything, and see `wellspring ledger verify`",
            )
        proposers.add(name)
    return frozenset(proposers)


def _enrolled_public_key(ledger: LedgerEntries, name: str, *, before_index: int | None = None) -> str | None:
    """Return the public key (base64) that a person was enrolled with; None for a stranger. Raises Broken for two."""
    subject = f"user:{name.removeprefix('user:')}"
    keys = {
        _text_fact(logged.entry, "public_key")
        for logged in ledger.list_entries(subject=subject, action="enroll", phase="done")
        if logged.entry.service == ENROLLING_SERVICE and (before_index is None or logged.index < before_index)
    }
    if len(keys) > 1:
        raise CorruptedError(
            f"{subject} was enrolled with two keys", fix="stop: a second key is for a reset, and there is none"
        )
    return keys.pop() if keys else None


def _require_enrolled_key(ledger: LedgerEntries, user: UserSigner) -> None:
    """Make sure that the key in OpenBao is the one that the ledger knows. Raises Refused, Broken."""
    name = user.principal.name
    public_key = _enrolled_public_key(ledger, name)
    if public_key is None:
        raise Refused(f"the ledger knows no enrolment of {name}", fix="run `wellspring users enroll`, then try again")
    if public_key != base64.b64encode(user.public_key).decode():
        raise CorruptedError(
            f"{name} was enrolled with another key than the one in OpenBao", fix="stop; keep everything"
        )


def _sign_message(user: UserSigner, message: bytes) -> str:
    signature = base64.b64encode(user.sign(message)).decode()
    if not _is_valid_signature(base64.b64encode(user.public_key).decode(), signature, message):
        raise CorruptedError(f"OpenBao's signature of {user.principal.name} does not hold", fix="stop; keep everything")
    return signature


def _is_valid_signature(public_key: str, signature: str, message: bytes) -> bool:
    try:
        return notes.verify_note_signature(public_key, signature, message)
    except MalformedError:
        return False


def _proposal_text(release: Release) -> bytes:
    return notes.approval_text(release.model, release.id, release.digest).replace(b"release", b"proposal", 1)


def _require_unchanged(release: Release) -> None:
    """Raises Refused for a release whose digest is not that of its content: whatever was approved, it was not this."""
    if release.digest != compute_release_digest(release) or release.id != release.digest[:12]:
        raise _rejection(release, "digest_mismatch", f"{release.subject} is not what its digest says: it was changed")


def _rejection(release: Release, code: str, message: str) -> Refused:
    verdict = Verdict(subject=release.subject, outcome="fail", reasons=(Reason(code=code, message=message),))
    return Refused(message, fix="see `wellspring release list`", verdict=verdict)


def _release_ref(release: Release) -> Ref:
    return Ref(name=release.subject, digest=release.digest)


def _text_fact(entry: Entry, name: str) -> str:
    value = entry.facts.get(name)
    return value if isinstance(value, str) else ""
