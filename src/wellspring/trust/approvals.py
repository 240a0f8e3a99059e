"""Propose and approve releases by two different users, each with a signature.

The approver signs the release note of `wellspring_verify.approvals`, which anybody can verify offline: four lines,
"wellspring release v1", the model, the release's id, its digest, each with a newline. A proposer signs the same lines
under "wellspring proposal v1", so that neither signature is valid for the other note.

The caller's job must hold the resource `release:MODEL` and have integrated the ledger, so that the second of two
concurrent approvals finds the first.
"""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple, Protocol

from wellspring.errors import CorruptedError, Refused
from wellspring.records.changes import ChangeRelease
from wellspring.records.models import Release
from wellspring.records.observe import Recorder
from wellspring.records.trust import LedgerEntries, Ref
from wellspring.trust.identity.port import Principal
from wellspring.trust.modes import find_mode_period
from wellspring.trust.policy import PolicyResource, PolicySet
from wellspring.trust.user_acts import UserAct, authorize_act
from wellspring_verify import approvals as notes
from wellspring_verify import canonical
from wellspring_verify.canonical import MalformedError

ENROLLING_SERVICE = "supervisor"
"""The only service whose enrollments count; no other service can write its journal."""


AnyRelease = Release | ChangeRelease
"""A release of a model, or of a change."""
_LIST_FIX = "see `wellspring release list`"


class UserSigner(Protocol):
    """A logged-in user, or the author of a signed note (`trust.user_notes`). public_key: 32 bytes, Ed25519."""

    @property
    def principal(self) -> Principal: ...

    @property
    def public_key(self) -> bytes: ...

    @property
    def key_id(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


class ReleaseApproval(NamedTuple):
    """A valid approval of a release. entry_id, tree_index: of its entry, once integrated."""

    approver: str
    proposers: frozenset[str]
    key_id: str
    signature: str
    entry_id: str = ""
    tree_index: int = -1


def compute_release_digest(release: AnyRelease) -> str:
    """Compute the digest of a release: the SHA-256 of the canonical JSON of the approved fields."""
    content = release.model_dump(mode="json", exclude={"id", "digest", "tenant", "known_since"})
    return hashlib.sha256(canonical.dumps_canonical(content)).hexdigest()


def build_approval_act(release: AnyRelease, user_name: str, ledger: LedgerEntries) -> UserAct:
    """Build the act of a user who approves a release.

    Raises Refused for a release that nobody proposed, and, except in development, for a user who proposed it, or its
    content in another release; CorruptedError.
    """
    proposers = list_proposers(ledger, release)
    if not proposers:
        raise Refused.because(
            release.subject,
            "not_proposed",
            f"{release.subject} was not proposed with its current content",
            fix=_LIST_FIX,
        )
    if find_mode_period(ledger).mode == "development":
        # One person proposes and approves; the policies are not asked whether the approver is another one.
        return UserAct("approve", _release_resource(release, proposers - {user_name}))
    if user_name in proposers:
        raise Refused.because(
            release.subject,
            "self_approval",
            f"{user_name} proposed {release.subject}: another user must approve it",
            fix=_LIST_FIX,
        )
    if other_release := _find_authors(ledger, release).get(user_name):
        raise Refused.because(
            release.subject,
            "self_approval",
            f"{user_name} proposed what {release.subject} brings in {other_release}: another user must approve it",
            fix=_LIST_FIX,
        )
    return UserAct("approve", _release_resource(release, proposers))


def record_proposal(
    release: AnyRelease, content: Ref, user: UserSigner, *, ledger: LedgerEntries, policies: PolicySet, step: Recorder
) -> None:
    """Propose a release, as a user. content: its candidate, or what becomes live, with its digest.

    Raises Refused, CorruptedError.

    Every user who ever proposed the release counts as a proposer and cannot approve it. An approved release cannot be
    proposed again, because its approver could become a proposer.
    """
    _require_unchanged(release)
    authorize_act(policies, user.principal, UserAct("propose", _release_resource(release)), step=step)
    user_name = user.principal.name
    with step("propose", release.subject, inputs=[content], outputs=[_release_ref(release)]) as act:
        act.add_facts(user=user_name, key_id=user.key_id, policy_digest=policies.digest)
        if find_approval(ledger, release):
            raise Refused.because(
                release.subject, "already_approved", f"{release.subject} is already approved", fix=_LIST_FIX
            )
        _require_enrolled_key(ledger, user)
        act.add_facts(signature=_sign_message(user, _proposal_text(release)))


def record_approval(
    release: AnyRelease, user: UserSigner, ledger: LedgerEntries, policies: PolicySet, *, step: Recorder
) -> ReleaseApproval:
    """Approve and sign a release, as a second user. Raises Refused (each refusal is recorded), CorruptedError."""
    user_name = user.principal.name
    with step("approve", release.subject, inputs=[_release_ref(release)], outputs=[_release_ref(release)]) as act:
        act.add_facts(user=user_name, key_id=user.key_id, policy_digest=policies.digest)
        _require_unchanged(release)
        if find_approval(ledger, release) is not None:
            raise Refused.because(
                release.subject, "already_approved", f"{release.subject} is already approved", fix=_LIST_FIX
            )
        approval_act = build_approval_act(release, user_name, ledger)
        authorize_act(policies, user.principal, approval_act, step=step)
        _require_enrolled_key(ledger, user)
        signature = _sign_message(user, notes.approval_text(release.signed_name, release.id, release.digest))
        act.add_facts(signature=signature, mode=find_mode_period(ledger).mode)
    return ReleaseApproval(user_name, approval_act.resource.proposers, user.key_id, signature)


def find_approval(ledger: LedgerEntries, release: AnyRelease) -> ReleaseApproval | None:
    """Return the approval of exactly these bytes, under which the release may be served; None before the approval.

    An approval in development does not count once the project is governed. Raises CorruptedError for an approval with
    the signature of another key, or, except in development, by a proposer.
    """
    _require_unchanged(release)
    period = find_mode_period(ledger)
    for indexed in ledger.list_entries(subject=release.subject, action="approve", phase="done"):
        entry = indexed.entry
        if _release_ref(release) not in entry.outputs or not period.includes(indexed.index):
            # It approved other bytes under this id, or before the project was governed.
            continue
        approver = entry.text("user")
        signature = entry.text("signature")
        public_key = find_enrolled_key(ledger, approver, before_index=indexed.index)
        message = notes.approval_text(release.signed_name, release.id, release.digest)
        if public_key is None or not _is_valid_signature(public_key, signature, message):
            raise CorruptedError(
                f"{entry.id} records that {approver} approved {release.subject}, but the signature is not theirs",
                fix="do not serve it; keep everything, and see `wellspring ledger verify`",
            )
        proposers = list_proposers(ledger, release, before_index=indexed.index)
        authors = proposers | _find_authors(ledger, release, before_index=indexed.index).keys()
        if not proposers or (approver in authors and period.mode != "development"):
            raise CorruptedError(
                f"{entry.id} records that {approver} approved {release.subject}, but there was no other proposer",
                fix="do not serve it; keep everything, and see `wellspring ledger verify`",
            )
        return ReleaseApproval(approver, proposers, entry.text("key_id"), signature, entry.id, indexed.index)
    return None


def list_proposers(ledger: LedgerEntries, release: AnyRelease, *, before_index: int | None = None) -> frozenset[str]:
    """Return the users who proposed exactly these bytes. Raises CorruptedError for an invalid signature."""
    proposers: set[str] = set()
    period = find_mode_period(ledger, before_index=before_index)
    for indexed in ledger.list_entries(subject=release.subject, action="propose", phase="done"):
        entry = indexed.entry
        if _release_ref(release) not in entry.outputs or (before_index is not None and indexed.index > before_index):
            continue
        if not period.includes(indexed.index):
            continue
        name = entry.text("user")
        public_key = find_enrolled_key(ledger, name, before_index=indexed.index)
        if public_key is None or not _is_valid_signature(public_key, entry.text("signature"), _proposal_text(release)):
            raise CorruptedError(
                f"{entry.id} records that {name} proposed {release.subject}, but the signature is not theirs",
                fix="do not serve it; keep everything, and see `wellspring ledger verify`",
            )
        proposers.add(name)
    return frozenset(proposers)


def _find_authors(ledger: LedgerEntries, release: AnyRelease, *, before_index: int | None = None) -> dict[str, str]:
    """Map each user who proposed the content of a release in another release to this other release.

    The content of a change is what becomes live. That of a model is its dbt code, until a second person approved that.
    """
    authors: dict[str, str] = {}
    period = find_mode_period(ledger, before_index=before_index)
    for indexed in ledger.list_entries(action="propose", phase="done"):
        entry = indexed.entry
        if entry.subject == release.subject or (before_index is not None and indexed.index > before_index):
            continue
        if isinstance(release, ChangeRelease):
            is_same = release.content_ref in entry.inputs
        else:
            is_same = any(_is_transform(ref, release.transform) for ref in entry.inputs) and not any(
                approval.index < (before_index if before_index is not None else approval.index + 1)
                and period.includes(approval.index)
                for approval in ledger.list_entries(subject=entry.subject, action="approve", phase="done")
            )
        if is_same:
            authors[entry.text("user")] = entry.subject
    return authors


def _is_transform(ref: Ref, transform: str) -> bool:
    return ref.name.startswith("transform:") and ref.digest == transform


def find_enrolled_key(ledger: LedgerEntries, name: str, *, before_index: int | None = None) -> str | None:
    """Return the public key (base64) that the enrollment of a user pins; None if the user is not enrolled.

    In a governed project, an enrollment in development does not count.
    before_index: only enrollments before this tree index count. Raises CorruptedError for two keys.
    """
    subject = f"user:{name.removeprefix('user:')}"
    period = find_mode_period(ledger, before_index=before_index)
    keys = {
        indexed.entry.text("public_key")
        for indexed in ledger.list_entries(subject=subject, action="enroll", phase="done")
        if indexed.entry.service == ENROLLING_SERVICE
        and (before_index is None or indexed.index < before_index)
        and period.includes(indexed.index)
    }
    if len(keys) > 1:
        raise CorruptedError(
            f"{subject} was enrolled with two keys", fix="stop: a user has only one key, and keys cannot be reset"
        )
    return keys.pop() if keys else None


def _require_enrolled_key(ledger: LedgerEntries, user: UserSigner) -> None:
    """Check that the key in OpenBao is the enrolled key. Raises Refused, CorruptedError."""
    name = user.principal.name
    public_key = find_enrolled_key(ledger, name)
    if public_key is None:
        raise Refused(f"the ledger has no enrollment of {name}", fix="run `wellspring users enroll`, then try again")
    if public_key != base64.b64encode(user.public_key).decode():
        raise CorruptedError(
            f"{name} was enrolled with another key than the one in OpenBao", fix="stop; keep everything"
        )


def _sign_message(user: UserSigner, message: bytes) -> str:
    signature = base64.b64encode(user.sign(message)).decode()
    if not _is_valid_signature(base64.b64encode(user.public_key).decode(), signature, message):
        raise CorruptedError(f"the signature of {user.principal.name} is invalid", fix="stop; keep everything")
    return signature


def _is_valid_signature(public_key: str, signature: str, message: bytes) -> bool:
    try:
        return notes.verify_note_signature(public_key, signature, message)
    except MalformedError:
        return False


def _proposal_text(release: AnyRelease) -> bytes:
    return notes.approval_text(release.signed_name, release.id, release.digest).replace(b"release", b"proposal", 1)


def _require_unchanged(release: AnyRelease) -> None:
    """Raise Refused for a release whose digest does not match its content."""
    if release.digest != compute_release_digest(release) or release.id != release.digest[:12]:
        raise Refused.because(
            release.subject,
            "digest_mismatch",
            f"{release.subject} does not match its digest: it was changed",
            fix=_LIST_FIX,
        )


def _release_resource(release: AnyRelease, proposers: frozenset[str] = frozenset()) -> PolicyResource:
    if isinstance(release, ChangeRelease):
        return PolicyResource(release.subject, kind=release.kind, proposers=proposers)
    return PolicyResource(release.subject, kind="model", model=release.model, proposers=proposers)


def _release_ref(release: AnyRelease) -> Ref:
    return Ref(name=release.subject, digest=release.digest)
