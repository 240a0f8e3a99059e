"""Store bytes on a local disk, with writes that are atomic and durable."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from wellspring.errors import CorruptedError, NotFound, Unavailable
from wellspring.runtime.files import (
    TEMPORARY_PREFIX,
    create_once,
    fsync_folder,
    read_plain_file,
    write_atomically,
)


class DiskBlobStore:
    """Store bytes by name below one folder, writable only by the user of this process."""

    def __init__(self, folder: Path, *, mode: int = 0o640) -> None:
        self.folder = folder
        self.mode = mode

    def write_once(self, name: str, content: bytes) -> None:
        path = self._create_folder(name)
        try:
            create_once(path, content, mode=self.mode)
        except FileExistsError:
            if read_plain_file(path) != content:
                raise CorruptedError(
                    f"{name} already has other bytes, and it is written only once",
                    fix="keep both copies and find out which process wrote the first one",
                ) from None
            # The process that created the name may not have made it durable yet.
            fsync_folder(path.parent)

    def replace(self, name: str, content: bytes) -> None:
        write_atomically(self._create_folder(name), content, mode=self.mode)

    def read(self, name: str) -> bytes:
        try:
            return read_plain_file(self._resolve_path(name))
        except FileNotFoundError:
            raise NotFound(f"{name} does not exist", fix="check the name") from None
        except OSError as exc:
            raise Unavailable(
                f"{name} cannot be read: {exc.strerror}",
                fix="check the permissions of the file and the state of its disk",
            ) from None

    def list(self, prefix: str) -> Iterator[str]:
        start = self._resolve_path(prefix) if prefix else self.folder
        yield from sorted(
            (Path(folder) / file).relative_to(self.folder).as_posix()
            for folder, _, files in os.walk(start)
            for file in files
            if not file.startswith(TEMPORARY_PREFIX)
        )

    def remove(self, name: str) -> None:
        self._resolve_path(name).unlink(missing_ok=True)

    def _resolve_path(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or any(part in {".", ".."} for part in parts):
            raise NotFound(f"{name!r} is not a relative name", fix="use a/b/c without . or ..")
        return self.folder.joinpath(*parts)

    def _create_folder(self, name: str) -> Path:
        path = self._resolve_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class DiskContentStore:
    """Store bytes by content hash, in one folder per two leading hex digits."""

    def __init__(self, folder: Path, *, mode: int = 0o640) -> None:
        self._blobs = DiskBlobStore(folder, mode=mode)

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self._blobs.write_once(self._object_name(digest), content)
        return digest

    def get(self, digest: str) -> bytes:
        content = self._blobs.read(self._object_name(digest))
        if hashlib.sha256(content).hexdigest() != digest:
            raise CorruptedError(
                f"object {digest} no longer hashes to its name", fix="restore it from a backup; do not retry"
            )
        return content

    @staticmethod
    def _object_name(digest: str) -> str:
        return f"{digest[:2]}/{digest[2:]}"
