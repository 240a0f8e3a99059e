"""Store immutable records by an id that is the start of their digest, and pointers that name one of them."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from wellspring.errors import CorruptedError, NotFound
from wellspring.records.record import Digest
from wellspring.stores.objects.port import NamedBlobStore

RecordType = TypeVar("RecordType")


@dataclass(frozen=True)
class RecordKind(Generic[RecordType]):
    """How records of one kind are stored, and what errors call one.

    encode: record -> bytes. decode: id and bytes -> record; a ValueError means that the bytes are not such a record.
    digest: the digest of a record, which begins with its id; None: the SHA-256 of its bytes. folder, suffix: the files
    are FOLDER/ID + suffix. missing_fix, corrupted_fix: the `fix` of the errors; a similar id replaces the first.
    """

    noun: str
    encode: Callable[[RecordType], bytes]
    decode: Callable[[str, bytes], RecordType]
    missing_fix: str
    digest: Callable[[RecordType], Digest] | None = None
    corrupted_fix: str = "restore the file from a copy; do not retry"
    id_digits: int = 12
    folder: str = ""
    suffix: str = ".json"


class RecordStore(Generic[RecordType]):
    """Write each record once and read it by id; a record whose content does not match its id is never returned."""

    def __init__(self, blobs: NamedBlobStore, kind: RecordKind[RecordType]) -> None:
        self._blobs = blobs
        self._kind = kind
        self._id_pattern = re.compile(rf"[0-9a-f]{{{kind.id_digits}}}")

    def save(self, record: RecordType) -> str:
        """Store a record durably and return its id; the same record again changes nothing."""
        content = self._kind.encode(record)
        digest = hash_content(content) if self._kind.digest is None else self._kind.digest(record)
        record_id = digest[: self._kind.id_digits]
        self._blobs.write_once(self._path(record_id), content)
        return record_id

    def get(self, record_id: str) -> RecordType:
        """Read a record. Raises NotFound with the nearest id, CorruptedError if its content does not match its id."""
        try:
            if not self._id_pattern.fullmatch(record_id):
                raise NotFound("not an id", fix=self._kind.missing_fix)
            content = self._blobs.read(self._path(record_id))
        except NotFound:
            raise NotFound(f"no {self._kind.noun} {record_id[:64]!a}", fix=self._suggest_id(record_id)) from None
        if self._kind.digest is None and not hash_content(content).startswith(record_id):
            raise self._corrupted(record_id, "does not match its id")
        try:
            record = self._kind.decode(record_id, content)
        except ValueError:
            raise self._corrupted(record_id, "has another format") from None
        if self._kind.digest is not None and not self._kind.digest(record).startswith(record_id):
            raise self._corrupted(record_id, "does not match its id")
        return record

    def list_ids(self) -> tuple[str, ...]:
        """List the ids of all stored records, sorted."""
        start = len(self._kind.folder) + 1 if self._kind.folder else 0
        names = (name[start:].removesuffix(self._kind.suffix) for name in self._blobs.list(self._kind.folder))
        return tuple(name for name in names if self._id_pattern.fullmatch(name))

    def set_pointer(self, name: str, record_id: str) -> None:
        """Let a pointer name a record: readers get the former record or this one."""
        self._blobs.replace(name, f"{record_id}\n".encode())

    def read_pointer(self, name: str) -> str | None:
        """Return the id that a pointer names, or None if it does not exist."""
        try:
            return self._blobs.read(name).decode("ascii", "replace").strip()
        except NotFound:
            return None

    def _path(self, record_id: str) -> str:
        folder = f"{self._kind.folder}/" if self._kind.folder else ""
        return f"{folder}{record_id}{self._kind.suffix}"

    def _suggest_id(self, record_id: str) -> str:
        matches = difflib.get_close_matches(record_id, self.list_ids(), n=1)
        return f"did you mean {matches[0]}?" if matches else self._kind.missing_fix

    def _corrupted(self, record_id: str, problem: str) -> CorruptedError:
        return CorruptedError(
            f"{self._kind.noun} {record_id} is corrupt: its content {problem}", fix=self._kind.corrupted_fix
        )


def hash_content(content: bytes) -> Digest:
    """Return the SHA-256 of the bytes, hex."""
    return hashlib.sha256(content).hexdigest()
