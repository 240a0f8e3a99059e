"""The source files of dbt projects, kept by content: a release names the transform that built its features.

A build runs a copy from this store and never the project's folder, so the digest that it records is that of what ran.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from wellspring.data.transform.source_digest import encode_listing, list_source_files
from wellspring.errors import CorruptedError
from wellspring.records.record import Digest
from wellspring.stores.objects.port import ContentStore

_FOLDER_MODE, _FILE_MODE = 0o2750, 0o640
"""Readable for the group of the folder, which is that of the user of project code."""


class TransformSources:
    """Keep and restore the source files of dbt projects. A transform is the digest of the list of its files."""

    def __init__(self, objects: ContentStore) -> None:
        self._objects = objects

    def save(self, folder: Path) -> Digest:
        """Store the source files of a dbt project, and return the digest of their list; idempotent."""
        digests = {
            path.relative_to(folder).as_posix(): self._objects.put(path.read_bytes())
            for path in list_source_files(folder)
        }
        return self._objects.put(encode_listing(digests))

    def list_files(self, transform: Digest) -> dict[str, Digest]:
        """Return the digests of the files of a transform by path. Raises NotFound, CorruptedError."""
        listing = json.loads(self._objects.get(transform))
        if not isinstance(listing, dict):
            raise CorruptedError(
                f"the object {transform} does not list source files", fix="restore the lake from a copy"
            )
        return {str(name): str(digest) for name, digest in listing.items()}

    def read_file(self, digest: Digest) -> bytes:
        """Return the bytes of a file. Raises NotFound, CorruptedError."""
        return self._objects.get(digest)

    def restore(self, transform: Digest, folder: Path) -> None:
        """Write the files of a transform below an empty folder. Raises NotFound, CorruptedError."""
        for name, digest in self.list_files(transform).items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise CorruptedError(f"{transform} names a file outside its folder", fix="restore the lake from a copy")
            target = folder.joinpath(*path.parts)
            for parent in reversed(target.relative_to(folder).parents[:-1]):
                (folder / parent).mkdir(exist_ok=True)
                (folder / parent).chmod(_FOLDER_MODE)
            target.write_bytes(self._objects.get(digest))
            target.chmod(_FILE_MODE)
