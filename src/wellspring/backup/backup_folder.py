"""The folder that backups are written to: contents by their SHA-256, which all backups share, and a manifest for each.

A manifest is written last: a backup without one does not exist. What an interrupted backup wrote is used by the next.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from wellspring.backup.manifest import BackupManifest, parse_manifest
from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable
from wellspring.records.record import Digest
from wellspring.runtime.files import write_atomically

CONTENT_FOLDER, MANIFEST_FOLDER, STAGING_FOLDER = "content", "backups", "staging"
_LOCK_FILE = "lock"
_CHUNK_BYTES = 1 << 20
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600


class BackupFolder:
    """One folder of backups. Nobody but its owner can read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list_ids(self) -> list[str]:
        """List the complete backups, oldest first."""
        return sorted(path.stem for path in (self.folder / MANIFEST_FOLDER).glob("*.json"))

    def read_manifest(self, backup: str | None = None) -> BackupManifest:
        """Return the manifest of a backup, by default of the newest. Raises NotFound, CorruptedError."""
        ids = self.list_ids()
        if not ids:
            raise NotFound(
                f"{self.folder} holds no complete backup",
                fix="name the folder of `wellspring backup create --to FOLDER`",
            )
        chosen = backup or ids[-1]
        if chosen not in ids:
            raise NotFound(f"{self.folder} holds no backup {chosen!r}", fix=f"the newest is {ids[-1]}")
        path = self._manifest_path(chosen)
        manifest = parse_manifest(path.read_bytes(), str(path))
        if manifest.id != chosen:
            raise CorruptedError(f"{path} is the manifest of {manifest.id}", fix="use another backup; keep this one")
        return manifest

    @contextmanager
    def opened_for_writing(self) -> Generator[None]:
        """Create the folder, and keep other backups from writing to it. Raises Refused, Unavailable."""
        try:
            self.folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            if set(os.listdir(self.folder)) - {CONTENT_FOLDER, MANIFEST_FOLDER, STAGING_FOLDER, _LOCK_FILE}:
                raise Refused(
                    f"{self.folder} holds other files",
                    fix="name a folder that is empty or holds backups of this project",
                )
            for name in (CONTENT_FOLDER, MANIFEST_FOLDER, STAGING_FOLDER):
                (self.folder / name).mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
            lock = os.open(self.folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
        except OSError as exc:
            raise Unavailable(f"{self.folder} cannot be written ({exc.strerror})", fix="name another folder") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for leftover in (self.folder / STAGING_FOLDER).iterdir():
                leftover.unlink()
            yield
        except BlockingIOError:
            raise Unavailable(f"another backup is being written to {self.folder}", fix="wait for it") from None
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG):
                raise
            raise Unavailable(
                f"{self.folder} cannot be written ({exc.strerror}); no backup was made",
                fix="free space there, or name another folder; earlier backups in it are unchanged",
            ) from None
        finally:
            os.close(lock)

    def has_content(self, digest: Digest) -> bool:
        return self._content_path(digest).is_file()

    def put_file(self, source: BinaryIO, length: int | None = None) -> tuple[Digest, int]:
        """Store the content of a file, or its first bytes; return its digest and size."""
        staged, hashed, size = self._new_staged_path(), hashlib.sha256(), 0
        with open(staged, "xb", opener=_open_private) as file:
            while chunk := source.read(_CHUNK_BYTES if length is None else min(_CHUNK_BYTES, length - size)):
                hashed.update(chunk)
                file.write(chunk)
                size += len(chunk)
        self._adopt(staged, hashed.hexdigest())
        return hashed.hexdigest(), size

    def put_bytes(self, content: bytes) -> tuple[Digest, int]:
        """Store a content that is in memory."""
        digest = hashlib.sha256(content).hexdigest()
        if not self.has_content(digest):
            staged = self._new_staged_path()
            with open(staged, "xb", opener=_open_private) as file:
                file.write(content)
            self._adopt(staged, digest)
        return digest, len(content)

    def stage_file(self, source: BinaryIO) -> Path:
        """Copy a file as fast as the disk allows; `put_staged` hashes it later."""
        staged = self._new_staged_path()
        with open(staged, "xb", opener=_open_private) as file:
            while os.sendfile(file.fileno(), source.fileno(), None, 1 << 30):
                continue
        return staged

    def put_staged(self, staged: Path) -> tuple[Digest, int]:
        """Store a staged copy under its digest."""
        with staged.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = staged.stat().st_size
        self._adopt(staged, digest)
        return digest, size

    def write_manifest(self, backup: str, content: bytes) -> None:
        """Make all contents durable, then write the manifest, with which the backup exists."""
        os.sync()
        write_atomically(self._manifest_path(backup), content, mode=_PRIVATE_FILE)

    def open_content(self, digest: Digest) -> BufferedReader:
        """Open a content. Raises FileNotFoundError."""
        return self._content_path(digest).open("rb")

    def _adopt(self, staged: Path, digest: Digest) -> None:
        path = self._content_path(digest)
        if path.is_file():
            staged.unlink()
            return
        with suppress(FileExistsError):
            path.parent.mkdir(mode=_PRIVATE_FOLDER)
        os.rename(staged, path)

    def _new_staged_path(self) -> Path:
        return self.folder / STAGING_FOLDER / secrets.token_hex(8)

    def _content_path(self, digest: Digest) -> Path:
        return self.folder / CONTENT_FOLDER / digest[:2] / digest

    def _manifest_path(self, backup: str) -> Path:
        return self.folder / MANIFEST_FOLDER / f"{backup}.json"


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, _PRIVATE_FILE)
