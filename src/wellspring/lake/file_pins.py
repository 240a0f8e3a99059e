"""Pins of data files: lists of path, size and SHA-256, which the signed entry of an edition names by their digest.

A list holds the files that one publish added, and names the list before it, so that an entry and a list stay small.
Who reads a table of an edition compares the files with the lists first. A file is hashed once per process, and again
when its inode, size or time of modification has changed: a change that keeps all three is not noticed by a process
that has read the file before, and neither is one between the comparison and the read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from wellspring.errors import CorruptedError, NotFound
from wellspring.records.lake import Edition, TableSnapshot
from wellspring.records.record import Digest
from wellspring.runtime.files import open_plain_file
from wellspring.stores.objects.port import ContentStore
from wellspring_verify import canonical

PINS_FOLDER = "pins"
"""In the folder of the lake; lists are named by their digest."""
FILES_PROPERTY = "files"
"""Property of a snapshot: the digest of the list of the files that it added."""
_CHUNK_BYTES = 1 << 20
_RESTORE_FIX = "restore the file from a copy, or the whole lake; nothing reads it before"


class PinnedFile(NamedTuple):
    """One data file as it was written. path: as the catalog names it."""

    path: str
    size: int
    sha256: Digest


HashFile = Callable[[str], PinnedFile]
"""Read a data file, wherever it is stored, and return its size and digest. Raises CorruptedError for a missing file."""


class PinnedTable(Protocol):
    """The part of a table of the lake that pins use."""

    def list_files(self, snapshot_id: int) -> tuple[str, ...]: ...

    def hash_file(self, path: str) -> PinnedFile: ...


class FilePins:
    """The lists of pinned files of one lake, stored by content."""

    def __init__(self, lists: ContentStore) -> None:
        self._lists = lists
        self._loaded: dict[Digest, Mapping[str, PinnedFile]] = {}

    def write_list(self, files: Iterable[PinnedFile], parent: Digest = "") -> Digest:
        """Store the list of files that were added to those of another list, and return its digest."""
        rows: list[Any] = [file._asdict() for file in sorted(files)]
        return self._lists.put(canonical.dumps_canonical({"files": rows, "parent": parent}))

    def pin_snapshot(self, files: Iterable[PinnedFile]) -> dict[str, str]:
        """Store the list of the files of one append, and return the property of its snapshot."""
        return {FILES_PROPERTY: self.write_list(files)}

    def load_files(self, digest: Digest) -> Mapping[str, PinnedFile]:
        """Return the files of a list and of all lists before it, by path. Raises CorruptedError."""
        if digest not in self._loaded:
            files: dict[str, PinnedFile] = {}
            current = digest
            while current:
                try:
                    stored = json.loads(self._lists.get(current))
                except NotFound:
                    raise CorruptedError(
                        f"the list {current[:12]} of pinned data files is missing", fix=_RESTORE_FIX
                    ) from None
                files.update(
                    {row["path"]: PinnedFile(row["path"], row["size"], row["sha256"]) for row in stored["files"]}
                )
                current = stored["parent"]
            self._loaded[digest] = files
        return self._loaded[digest]

    def pin_table(
        self, table: PinnedTable, snapshot_id: int, published: TableSnapshot | None, added: Sequence[Digest]
    ) -> Digest:
        """Store the list of the files that a publish adds to a table, and return its digest.

        published: the table in the edition before. added: the lists of the added parts. A table that was published
        without pins, or that has a part without, is hashed as it is now.
        """
        if (published is not None and not published.files) or not all(added):
            return self.write_list(map(table.hash_file, table.list_files(snapshot_id)))
        files = [file for digest in added for file in self.load_files(digest).values()]
        return self.write_list(files, published.files if published is not None else "")

    def check_table(self, edition: str, snapshot: TableSnapshot, table: PinnedTable) -> tuple[str, ...]:
        """Compare the files of a table with the pins of an edition, and return them. Raises CorruptedError.

        An edition of a version before file pins names none: its files are returned as they are.
        """
        paths = table.list_files(snapshot.snapshot_id)
        if snapshot.files:
            self.check_files(snapshot.files, paths, f"table {snapshot.table} of edition {edition}", table.hash_file)
        return paths

    def check_some_files(self, edition: Edition | None, name: str, table: PinnedTable, paths: Collection[str]) -> None:
        """Compare those of some files of a table that an edition pins with their pins. Raises CorruptedError."""
        if edition is None:
            return
        for snapshot in edition.tables:
            pinned = self.load_files(snapshot.files) if snapshot.table == name and snapshot.files else {}
            for path in sorted(pinned.keys() & set(paths)):
                check_file(pinned[path], f"table {name} of edition {edition.id}", table.hash_file)

    def check_files(self, digest: Digest, paths: Collection[str], owner: str, hash_file: HashFile) -> None:
        """Raise CorruptedError unless these are exactly the files of a list, with the same content.

        owner: the table and edition, for the message.
        """
        pinned = self.load_files(digest)
        if differing := sorted(set(paths) ^ pinned.keys()):
            raise CorruptedError(
                f"{differing[0]} is {'pinned by' if differing[0] in pinned else 'not a file of'} {owner}, and the "
                f"catalog of the lake {'lacks' if differing[0] in pinned else 'names'} it",
                fix="restore the catalog of the lake from a copy; nothing reads the table before",
            )
        for path in sorted(paths):
            check_file(pinned[path], owner, hash_file)


def check_file(pinned: PinnedFile, owner: str, hash_file: HashFile) -> None:
    """Raise CorruptedError unless a file has the size and the digest with which it was pinned."""
    stored = hash_file(pinned.path)
    if stored != pinned:
        raise CorruptedError(f"{pinned.path} was changed: it is not the file that {owner} pins", fix=_RESTORE_FIX)


_hashed: dict[tuple[str, int, int, int], PinnedFile] = {}


def hash_local_file(path: str) -> PinnedFile:
    """Hash a file of this machine; its inode, size and time of modification decide whether it is read again.

    Raises CorruptedError for a path without a regular file.
    """
    try:
        with open(open_plain_file(Path(path)), "rb") as file:
            status = os.fstat(file.fileno())
            key = (path, status.st_ino, status.st_size, status.st_mtime_ns)
            if key not in _hashed:
                digest = hashlib.sha256()
                size = 0
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                _hashed[key] = PinnedFile(path, size, digest.hexdigest())
            return _hashed[key]
    except OSError as exc:
        if exc.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        raise CorruptedError(f"{path}, a data file of the lake, is missing", fix=_RESTORE_FIX) from None
