"""The folder of released changes: each release once by its digest, their contents, and a pointer for each live one."""

from __future__ import annotations

import os
import re
from operator import attrgetter
from pathlib import Path

from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.records.changes import CHANGE_KINDS, ChangeDraft, ChangeKindName, ChangeRelease
from wellspring.records.clock import Clock
from wellspring.stores.objects.disk import DiskBlobStore, DiskContentStore
from wellspring.stores.records import RecordKind, RecordStore
from wellspring.trust.approvals import compute_release_digest
from wellspring_verify import canonical

_LIVE_DIR = "live"
_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_RESTORE_FIX = "do not use it; restore its file from a copy, and verify the ledger"


def build_change(
    kind: ChangeKindName, name: str, draft: ChangeDraft, *, replaces: str, tenant: str, clock: Clock
) -> ChangeRelease:
    """Build the release of a draft. replaces: id of the release that is live now, or ''."""
    change = ChangeRelease(
        id="",
        digest="",
        kind=kind,
        name=name,
        content=draft.content,
        replaces=replaces,
        summary=draft.summary,
        needs_second_person=draft.needs_second_person,
        version=draft.version,
        tenant=tenant,
        known_since=clock.now(),
    )
    digest = compute_release_digest(change)
    return change.model_copy(update={"id": digest[:12], "digest": digest})


def check_change_digest(change: ChangeRelease, error_type: type[Refused] | type[CorruptedError]) -> None:
    """Raise error_type unless the id and digest of a release match its fields."""
    if change.digest != compute_release_digest(change) or change.id != change.digest[:12]:
        raise error_type(f"release {change.id[:12]!a} does not match its digest", fix=_RESTORE_FIX)


def _encode_change(change: ChangeRelease) -> bytes:
    return canonical.dumps_canonical(change.model_dump(mode="json"))


def _decode_change(_change_id: str, content: bytes) -> ChangeRelease:
    change = ChangeRelease.model_validate(canonical.loads_canonical(content), strict=False)
    check_change_digest(change, CorruptedError)
    return change


_CHANGE_KIND = RecordKind(
    "release",
    _encode_change,
    _decode_change,
    missing_fix="see `wellspring release list`",
    digest=attrgetter("digest"),
    corrupted_fix=_RESTORE_FIX,
    folder="releases",
)


class ChangeStore:
    """Releases in `releases/ID.json`, written once, and one pointer for each kind and name in `live/KIND/NAME`.

    objects: what releases name by content, of the kinds that have no store of their own.
    """

    def __init__(self, folder: Path) -> None:
        self.objects = DiskContentStore(folder / "objects")
        self._blobs = DiskBlobStore(folder)
        self._records = RecordStore(self._blobs, _CHANGE_KIND)

    def save(self, change: ChangeRelease) -> ChangeRelease:
        """Store a release; return the stored one if its id exists. Raises Refused, CorruptedError."""
        check_change_digest(change, Refused)
        try:
            return self.get(change.id)
        except NotFound:
            self._records.save(change)
            return change

    def get(self, change_id: str) -> ChangeRelease:
        """Read a release. Raises NotFound with the nearest id, CorruptedError for a wrong digest."""
        return self._records.get(change_id)

    def list_ids(self) -> tuple[str, ...]:
        """List the ids of all stored releases."""
        return self._records.list_ids()

    def list_live(self) -> tuple[ChangeRelease, ...]:
        """List the live release of each kind and name."""
        pointers = [name.split("/")[1:] for name in self._blobs.list(_LIVE_DIR)]
        changes = [self.get_live(kind, name) for kind in CHANGE_KINDS for folder, name in pointers if folder == kind]
        return tuple(change for change in changes if change is not None)

    def live_id(self, kind: ChangeKindName, name: str) -> str:
        """Return the id of the live release; '' before the first."""
        try:
            return self._records.read_pointer(_live_path(kind, name)) or ""
        except NotFound:
            return ""

    def get_live(self, kind: ChangeKindName, name: str) -> ChangeRelease | None:
        """Read the live release; None before the first. Raises CorruptedError."""
        change_id = self.live_id(kind, name)
        if not change_id:
            return None
        change = self.get(change_id)
        if (change.kind, change.name) != (kind, name):
            raise CorruptedError(
                f"the live pointer of {kind}:{name} names release {change_id} of {change.signed_name}",
                fix="keep all files; the pointer was changed without a ledger entry",
            )
        return change

    def live_version(self, kind: ChangeKindName, name: str) -> tuple[int, int] | None:
        """Return the inode and mtime of the pointer, without reading it; None before the first release."""
        try:
            pointer_stat = os.stat(self._blobs.folder / _live_path(kind, name))
        except FileNotFoundError:
            return None
        return pointer_stat.st_ino, pointer_stat.st_mtime_ns

    def set_live(self, change: ChangeRelease) -> None:
        """Make a release live: point its kind and name at it."""
        self._records.set_pointer(_live_path(change.kind, change.name), change.id)


def _live_path(kind: ChangeKindName, name: str) -> str:
    if not _NAME_PATTERN.fullmatch(name):
        raise NotFound(f"no {kind} has this name", fix="use lower-case letters, digits, _ and -")
    return f"{_LIVE_DIR}/{kind}/{name}"
