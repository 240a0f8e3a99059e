"""Store a fetched file unchanged: hashed, encrypted with its own data key, for the retention of its contract.

An original is `magic | 7 random bytes | chunk ...`. Each chunk is 1 MiB of the file (the last may be shorter) under
AES-256-GCM. Its nonce is `random | index (4 bytes) | 1 if it is the last, else 0` (STREAM: Hoang, Reyhanitabar, Rogaway
and Vizár, 2015); the drop id, the index and the last flag are also associated data. Decryption fails for a chunk that
is changed, moved, missing, repeated or from another drop, and for a truncated file.
The key server wraps the data key. Only the enclave's database has the wrapped key: without that row the file cannot be
decrypted.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from wellspring.errors import CorruptedError, NotFound
from wellspring.records.data import DataContract, Drop
from wellspring.records.record import Digest
from wellspring.runtime.files import fsync_folder, open_replacement
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


def drop_id(source: str, name: str, digest: Digest) -> str:
    """Return the id of a drop. Fetching the same file again gives the same id."""
    text = "\0".join((source, name, digest))
    return f"{source}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def store_original(
    content: bytes,
    *,
    source: str,
    name: str,
    contract: DataContract,
    keys: DataKeys,
    folder: Path,
    received: datetime,
) -> StoredOriginal:
    """Encrypt one file into `folder/<drop id>`, with fsync, and return its record.

    A file that a crash left behind is replaced, because its key was not saved.
    received: UTC; known_since of the drop, and start of the retention of `contract.retention_days`.
    """
    digest = hashlib.sha256(content).hexdigest()
    drop = Drop(
        tenant=contract.tenant,
        known_since=received,
        id=drop_id(source, name, digest),
        source=source,
        name=name,
        digest=digest,
        size=len(content),
        contract=contract.name,
        contract_version=contract.version,
        contract_digest=contract.digest,
    )
    data_key = keys.generate_data_key(ORIGINALS_KEY_NAME)
    ciphertext_hash = hashlib.sha256()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open_replacement(folder / drop.id, mode=0o600) as file:
        for chunk in _encrypt_chunks(content, _original_key(data_key.plaintext), drop.id):
            ciphertext_hash.update(chunk)
            file.write(chunk)
    return StoredOriginal(
        drop, ciphertext_hash.hexdigest(), data_key.wrapped, received + timedelta(days=contract.retention_days)
    )


def read_original(drop: Drop, wrapped_key: str, *, keys: DataKeys, folder: Path) -> bytes:
    """Decrypt the original of a drop. Raises NotFound without a file, CorruptedError if the content does not match."""
    try:
        ciphertext = (folder / drop.id).read_bytes()
    except FileNotFoundError:
        raise NotFound(
            f"the original of {drop.subject} does not exist", fix="ask the vendor to send it again"
        ) from None
    content = b"".join(
        _decrypt_chunks(ciphertext, _original_key(keys.unwrap_key(ORIGINALS_KEY_NAME, wrapped_key)), drop.id)
    )
    if hashlib.sha256(content).hexdigest() != drop.digest:
        raise _corrupted_original(drop.id)
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


def _encrypt_chunks(content: bytes, key: bytes, drop: str) -> Iterator[bytes]:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(key)
    nonce_prefix = os.urandom(_NONCE_PREFIX_SIZE)
    yield _MAGIC + nonce_prefix
    view = memoryview(content)
    last_index = max(0, (len(content) - 1) // CHUNK_SIZE)
    for chunk_index in range(last_index + 1):
        nonce, associated_data = _nonce_and_data(nonce_prefix, drop, chunk_index, chunk_index == last_index)
        yield cipher.encrypt(nonce, view[chunk_index * CHUNK_SIZE : (chunk_index + 1) * CHUNK_SIZE], associated_data)


def _decrypt_chunks(ciphertext: bytes, key: bytes, drop: str) -> Iterator[bytes]:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(key)
    start = len(_MAGIC) + _NONCE_PREFIX_SIZE
    if len(ciphertext) < start + _TAG_SIZE or not ciphertext.startswith(_MAGIC):
        raise _corrupted_original(drop)
    nonce_prefix = ciphertext[len(_MAGIC) : start]
    view = memoryview(ciphertext)[start:]
    sealed_size = CHUNK_SIZE + _TAG_SIZE
    last_index = (len(view) - 1) // sealed_size
    for chunk_index in range(last_index + 1):
        nonce, associated_data = _nonce_and_data(nonce_prefix, drop, chunk_index, chunk_index == last_index)
        try:
            yield cipher.decrypt(
                nonce, view[chunk_index * sealed_size : (chunk_index + 1) * sealed_size], associated_data
            )
        except (InvalidTag, ValueError):
            raise _corrupted_original(drop) from None


def _nonce_and_data(nonce_prefix: bytes, drop: str, chunk_index: int, is_last: bool) -> tuple[bytes, bytes]:
    tail = chunk_index.to_bytes(4, "big") + bytes([is_last])
    return nonce_prefix + tail, b"wellspring original 1|" + drop.encode() + b"|" + tail


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
