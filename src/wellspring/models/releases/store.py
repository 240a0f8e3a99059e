"""The folder of releases: each release once, by its digest, and a pointer per model to the live one."""

from __future__ import annotations

import os
import re
from operator import attrgetter
from pathlib import Path

from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.records.models import Release
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.stores.records import RecordKind, RecordStore
from wellspring.trust.approvals import compute_release_digest
from wellspring_verify import canonical

_RELEASES_DIR, _LIVE_DIR, _CHALLENGERS_DIR = "releases", "live", "challengers"
_MODEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RESTORE_FIX = "do not serve it; restore its file from a copy, and verify the ledger"


def check_release_digest(release: Release, error_type: type[Refused] | type[CorruptedError]) -> None:
    """Raise error_type unless a release's id and digest match its fields."""
    if release.digest != compute_release_digest(release) or release.id != release.digest[:12]:
        raise error_type(f"release {release.id[:12]!a} does not match its digest", fix=_RESTORE_FIX)


def _encode_release(release: Release) -> bytes:
    return canonical.dumps_canonical(release.model_dump(mode="json"))


def _decode_release(_release_id: str, content: bytes) -> Release:
    release = Release.model_validate(canonical.loads_canonical(content), strict=False)
    check_release_digest(release, CorruptedError)
    return release


_RELEASE_KIND = RecordKind(
    "release",
    _encode_release,
    _decode_release,
    missing_fix="see `wellspring release list`",
    # `_decode_release` and `save` have computed it again.
    digest=attrgetter("digest"),
    corrupted_fix=_RESTORE_FIX,
    folder=_RELEASES_DIR,
)


class ReleaseStore:
    """Releases in `releases/ID.json`, written once; one pointer per model in `live/MODEL`, and `challengers/MODEL`."""

    def __init__(self, folder: Path) -> None:
        self.paths = DiskBlobStore(folder)
        self._records = RecordStore(self.paths, _RELEASE_KIND)

    def save(self, release: Release) -> Release:
        """Store a release; return the stored one if its id exists. Raises Refused, CorruptedError."""
        check_release_digest(release, Refused)
        try:
            return self.get(release.id)
        except NotFound:
            self._records.save(release)
            return release

    def get(self, release_id: str) -> Release:
        """Read a release. Raises NotFound with the nearest id, CorruptedError for a wrong digest."""
        return self._records.get(release_id)

    def list_ids(self) -> tuple[str, ...]:
        """List the ids of all stored releases."""
        return self._records.list_ids()

    def live_models(self) -> tuple[str, ...]:
        """List the models with a live release."""
        return tuple(name.removeprefix(f"{_LIVE_DIR}/") for name in self.paths.list(_LIVE_DIR))

    def live_id(self, model: str) -> str:
        """Return the id of the live release; '' before the first."""
        try:
            return self._records.read_pointer(_live_path(model)) or ""
        except NotFound:
            return ""

    def get_live(self, model: str) -> Release | None:
        """Read the live release; None before the first. Raises CorruptedError."""
        release_id = self.live_id(model)
        return self.get(release_id) if release_id else None

    def set_live(self, release: Release) -> None:
        """Make a release live: point its model's pointer at it."""
        self._records.set_pointer(_live_path(release.model), release.id)

    def challenger_id(self, model: str) -> str:
        """Return the id in the file of a model's challenger; '' without one. The ledger decides, not this file."""
        return self._records.read_pointer(_challenger_path(model)) or ""

    def set_challenger(self, model: str, release_id: str) -> None:
        """Write the file of a model's challenger, or remove it for ''."""
        if release_id:
            self._records.set_pointer(_challenger_path(model), release_id)
        else:
            self.paths.remove(_challenger_path(model))

    def live_version(self, model: str) -> tuple[int, ...] | None:
        """Return inode and mtime of the pointer and of the challenger's file, without reading them.

        None before the first release.
        """
        if not _MODEL_NAME.fullmatch(model):
            return None
        live = _stat_version(self.paths.folder / _live_path(model))
        return (*live, *_stat_version(self.paths.folder / _challenger_path(model))) if live else None

    def pinned_editions(self) -> frozenset[str]:
        """Return the editions of all stored releases; rollback and replay need them."""
        return frozenset(self.get(release_id).edition for release_id in self.list_ids())


def _stat_version(path: Path) -> tuple[int, ...]:
    try:
        file_stat = os.stat(path)
    except FileNotFoundError:
        return ()
    return file_stat.st_ino, file_stat.st_mtime_ns


def _challenger_path(model: str) -> str:
    return _live_path(model).replace(_LIVE_DIR, _CHALLENGERS_DIR, 1)


def _live_path(model: str) -> str:
    if not _MODEL_NAME.fullmatch(model):
        raise NotFound(
            "invalid model name", fix="use lower-case letters, digits and underscores, starting with a letter"
        )
    return f"{_LIVE_DIR}/{model}"
