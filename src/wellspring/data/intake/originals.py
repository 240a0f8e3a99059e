"""Store a file of a source unchanged: hashed and encrypted while it is read, for the retention of its contract.

An original is `magic | 7 random bytes | chunk ...`. Each chunk is 1 MiB of the file (the last may be shorter) under
AES-256-GCM. Its nonce is `random | index (4 bytes) | 1 if it is the last, else 0` (STREAM: Hoang, Reyhanitabar, Rogaway
and Vizár, 2015); source and name of the file, the index and the last flag are also associated data. Decryption fails
for a chunk that is changed, moved, missing, repeated or from another file, and for a truncated file.
The key server wraps the data key. Only the enclave's database has the wrapped key: without that row the file cannot be
decrypted.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from wellspring.errors import CorruptedError, NotFound
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import Drop
from wellspring.records.record import Digest
from wellspring.runtime.files import fsync_folder, open_nameless
from wellspring.trust.keys.port import DataKeys

ORIGINALS_KEY_NAME = "originals"
CHUNK_SIZE = 1 << 20
_MAGIC = b"wellspring-original-1\n"
_NONCE_PREFIX_SIZE = 7
_TAG_SIZE = 16


class StoredOriginal(NamedTuple):
    """A stored original. digest: SHA-256 of its ciphertext. wrapped_key: its wrapped data key."""

    drop: Drop
    digest: Digest
    wrapped_key: str
    retention_until: datetime


class ByteReader(Protocol):
    """Bytes in order: at most `size` at a time, b"" at the end."""

    def read(self, size: int, /) -> bytes: ...


def drop_id(source: str, name: str, digest: Digest) -> str:
    """Return the id of a drop. Fetching the same file again gives the same id."""
    text = "\0".join((source, name, digest))
    return f"{source}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def store_original(
    content: ByteReader,
    *,
    source: str,
    name: str,
    contract: DataContract,
    keys: DataKeys,
    folder: Path,
    received: datetime,
) -> StoredOriginal:
    """Encrypt one file into `folder/<drop id>`, with fsync, and return its record. It is never whole in memory.

    A file that a crash left behind is replaced, because its key was not saved. After an error nothing is left.
    received: UTC; known_since of the drop, and start of the retention of `contract.retention_days`.
    """
    data_key = keys.generate_data_key(ORIGINALS_KEY_NAME)
    plain, ciphertext_hash = _HashingReader(content), hashlib.sha256()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open_nameless(folder, mode=0o600) as (file, complete):
        for chunk in _encrypt_chunks(plain, _original_key(data_key.plaintext), _file_label(source, name)):
            ciphertext_hash.update(chunk)
            file.write(chunk)
        drop = _build_drop(source, name, contract, plain, received)
        complete(folder / drop.id)
    return StoredOriginal(
        drop, ciphertext_hash.hexdigest(), data_key.wrapped, received + timedelta(days=contract.retention_days)
    )


def _build_drop(source: str, name: str, contract: DataContract, content: _HashingReader, received: datetime) -> Drop:
    digest = content.hexdigest()
    return Drop(
        tenant=contract.tenant,
        known_since=received,
        id=drop_id(source, name, digest),
        source=source,
        name=name,
        digest=digest,
        size=content.size,
        contract=contract.name,
        contract_version=contract.version,
        contract_digest=contract.digest,
    )


class OriginalContent(io.RawIOBase):
    """The content of a stored original, decrypted while it is read: seekable, one chunk in memory.

    Raises CorruptedError when a chunk is read that is not the one that was stored.
    """

    def __init__(self, file: BinaryIO, key: bytes, drop: Drop) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        super().__init__()
        self.size = drop.size
        self._file = file
        self._cipher = AESGCM(key)
        self._drop = drop
        self._head = file.read(len(_MAGIC) + _NONCE_PREFIX_SIZE)
        self._last_index = max(0, (drop.size - 1) // CHUNK_SIZE)
        sealed_size = len(self._head) + drop.size + (self._last_index + 1) * _TAG_SIZE
        if not self._head.startswith(_MAGIC) or os.fstat(file.fileno()).st_size != sealed_size:
            raise _corrupted_original(drop.id)
        self._position = 0
        self._chunk_index, self._chunk = -1, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Read at most to the end of the current chunk."""
        if self._position >= self.size:
            # An empty original has one empty chunk, which must be the one that was stored.
            return 0 if self.size else len(self._read_chunk(0))
        index, offset = divmod(self._position, CHUNK_SIZE)
        view = memoryview(buffer).cast("B")
        block = self._read_chunk(index)[offset : offset + len(view)]
        view[: len(block)] = block
        self._position += len(block)
        return len(block)

    def close(self) -> None:
        self._chunk = b""
        self._file.close()
        super().close()

    def _read_chunk(self, index: int) -> bytes:
        from cryptography.exceptions import InvalidTag

        if index == self._chunk_index:
            return self._chunk
        self._file.seek(len(self._head) + index * (CHUNK_SIZE + _TAG_SIZE))
        nonce, associated_data = _nonce_and_data(
            self._head[len(_MAGIC) :], _file_label(self._drop.source, self._drop.name), index, index == self._last_index
        )
        try:
            self._chunk = self._cipher.decrypt(nonce, self._file.read(CHUNK_SIZE + _TAG_SIZE), associated_data)
        except (InvalidTag, ValueError):
            raise _corrupted_original(self._drop.id) from None
        self._chunk_index = index
        return self._chunk


def open_original(drop: Drop, wrapped_key: str, *, keys: DataKeys, folder: Path) -> OriginalContent:
    """Open the original of a drop, after its digest was checked in one pass.

    Raises NotFound without a file, CorruptedError if the content is not the one that was received.
    """
    try:
        file = (folder / drop.id).open("rb", buffering=0)
    except FileNotFoundError:
        raise NotFound(
            f"the original of {drop.subject} does not exist", fix="ask the vendor to send it again"
        ) from None
    with ExitStack() as opened_files:
        opened_files.enter_context(file)
        content = OriginalContent(file, _original_key(keys.unwrap_key(ORIGINALS_KEY_NAME, wrapped_key)), drop)
        # The chunks are tied to the name of the file only; the digest also tells two files of one name apart.
        if hashlib.file_digest(content, "sha256").hexdigest() != drop.digest:
            raise _corrupted_original(drop.id)
        content.seek(0)
        opened_files.pop_all()
        return content


def list_originals(folder: Path) -> tuple[str, ...]:
    """List the files in the folder of originals, including unfinished ones (`.tmp-`)."""
    return tuple(sorted(os.listdir(folder))) if folder.is_dir() else ()


def remove_original(name: str, *, folder: Path) -> None:
    """Remove one file from the folder of originals, if it exists."""
    (folder / name).unlink(missing_ok=True)
    if folder.is_dir():
        fsync_folder(folder)


class RowCipher:
    """Encrypts quarantined rows of one drop with a key derived from the data key of the drop."""

    def __init__(self, data_key: bytes, drop: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(_derive_key(data_key, b"wellspring quarantine 1"))
        self._drop = drop

    def seal(self, content: bytes, row_number: int) -> bytes:
        """Encrypt the content of one row. The row number is associated data, so it decrypts only as that row."""
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, content, f"{self._drop}|{row_number}".encode())

    def open(self, sealed: bytes, row_number: int) -> bytes:
        """Decrypt the content of one row. Raises CorruptedError."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], f"{self._drop}|{row_number}".encode())
        except (InvalidTag, ValueError):
            raise CorruptedError(
                f"row {row_number} of drop:{self._drop} cannot be decrypted",
                fix="keep all files unchanged and find out who wrote the row",
            ) from None


class _HashingReader:
    """Reads whole chunks and hashes them; `hexdigest` and `size` are of all bytes that were read."""

    def __init__(self, content: ByteReader) -> None:
        self._content = content
        self._hash = hashlib.sha256()
        self.size = 0

    def read_chunk(self) -> bytes:
        """Return the next CHUNK_SIZE bytes, fewer at the end."""
        blocks: list[bytes] = []
        missing = CHUNK_SIZE
        while missing and (block := self._content.read(missing)):
            self._hash.update(block)
            blocks.append(block)
            missing -= len(block)
        self.size += CHUNK_SIZE - missing
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _encrypt_chunks(content: _HashingReader, key: bytes, label: bytes) -> Iterator[bytes]:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(key)
    nonce_prefix = os.urandom(_NONCE_PREFIX_SIZE)
    yield _MAGIC + nonce_prefix
    chunk, chunk_index, is_last = content.read_chunk(), 0, False
    while not is_last:
        # The last chunk is known by the end of the file after it.
        next_chunk = content.read_chunk()
        is_last = not next_chunk
        nonce, associated_data = _nonce_and_data(nonce_prefix, label, chunk_index, is_last)
        yield cipher.encrypt(nonce, chunk, associated_data)
        chunk, chunk_index = next_chunk, chunk_index + 1


def _file_label(source: str, name: str) -> bytes:
    """Return what ties the chunks of an original to its file; the id of the drop is known only after the last one."""
    return "\0".join((source, name)).encode()


def _nonce_and_data(nonce_prefix: bytes, label: bytes, chunk_index: int, is_last: bool) -> tuple[bytes, bytes]:
    tail = chunk_index.to_bytes(4, "big") + bytes([is_last])
    return nonce_prefix + tail, b"wellspring original 1|" + label + b"|" + tail


def _original_key(data_key: bytes) -> bytes:
    return _derive_key(data_key, b"wellspring original 1")


def _derive_key(data_key: bytes, purpose: bytes) -> bytes:
    """Derive a key for one purpose, so that nonces of two purposes cannot collide."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(data_key)


def _corrupted_original(drop: str) -> CorruptedError:
    return CorruptedError(
        f"the original of drop:{drop} is not the file that was stored",
        fix="keep the file unchanged and find out who changed it; the vendor may still have the data",
    )
