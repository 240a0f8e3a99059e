"""Keep one fetched file as it came: hashed, encrypted under a data key of its own, retained for the contract's days.

An original is `magic | 7 random bytes | chunk ...`. Each chunk is 1 MiB of the file (the last one less) under
AES-256-GCM; its nonce is `random | place (4 bytes) | 1 if it is the last, else 0` (STREAM: Hoang, Reyhanitabar,
Rogaway and Vizár, 2015), and drop, place and last stand in the associated data too. So a chunk that is flipped, moved,
left out, repeated or taken from another drop does not open, and neither does a file whose tail was cut.
The data key is wrapped by the key server; the wrapped key is kept in the enclave's database alone: when that row is
gone, these bytes are noise.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from wellspring.errors import CorruptedError, NotFound
from wellspring.records.data import DataContract, Drop
from wellspring.records.record import Digest
from wellspring.trust.keys.port import DataKeys

ORIGINALS_KEY_NAME = "originals"
CHUNK_SIZE = 1 << 20
_MAGIC = b"wellspring-original-1\n"
_NONCE_PREFIX_SIZE = 7
_TAG_SIZE = 16


class StoredOriginal(NamedTuple):
    """What is known of a kept original. digest: of its ciphertext. wrapped: its data key, wrapped."""

    drop: Drop
    digest: Digest
    wrapped_key: str
    retention_until: datetime


def drop_id(source: str, name: str, digest: Digest) -> str:
    """Name the drop of these bytes under this name: the same file fetched again is the same drop."""
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
    """Encrypt one file into `folder/<drop id>` and return its drop; it is on the disk when this returns.

    Landing again over a file that a crash left behind replaces it: nothing knew its key.
    received: UTC; the drop is known since then, and kept `contract.retention_days` from then.
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
    descriptor, temporary_path = tempfile.mkstemp(prefix=".tmp-", dir=folder)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in _encrypt_chunks(content, _original_key(data_key.plaintext), drop.id):
            ciphertext_hash.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary_path, folder / drop.id)
    _fsync_folder(folder)
    return StoredOriginal(
        drop, ciphertext_hash.hexdigest(), data_key.wrapped, received + timedelta(days=contract.retention_days)
    )


def read_original(drop: Drop, wrapped_key: str, *, keys: DataKeys, folder: Path) -> bytes:
    """Return the bytes of a drop as they came. Raises NotFound if they are not kept, Broken if they are not those."""
    try:
        ciphertext = (folder / drop.id).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"the original of {drop.subject} is not kept", fix="ask the vendor to send it again") from None
    content = b"".join(
        _decrypt_chunks(ciphertext, _original_key(keys.unwrap_key(ORIGINALS_KEY_NAME, wrapped_key)), drop.id)
    )
    if hashlib.sha256(content).hexdigest() != drop.digest:
        raise _corrupted_original(drop.id)
    return content


def list_originals(folder: Path) -> tuple[str, ...]:
    """Name every file that lies among the originals, unfinished ones (`.tmp-`) too."""
    return tuple(sorted(os.listdir(folder))) if folder.is_dir() else ()


def remove_original(name: str, *, folder: Path) -> None:
    """Remove one file from among the originals; nothing happens if it is not there."""
    (folder / name).unlink(missing_ok=True)
    if folder.is_dir():
        _fsync_folder(folder)


class RowCipher:
    """Seals small things (a quarantined row) of one drop, under a key derived from the drop's data key."""

    def __init__(self, data_key: bytes, drop: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(_derive_key(data_key, b"wellspring quarantine 1"))
        self._drop = drop

    def seal(self, content: bytes, row_number: int) -> bytes:
        """place: the row's number; what was sealed for one row does not open as another."""
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, content, f"{self._drop}|{row_number}".encode())

    def open(self, sealed: bytes, row_number: int) -> bytes:
        """Raises Broken."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], f"{self._drop}|{row_number}".encode())
        except (InvalidTag, ValueError):
            raise CorruptedError(
                f"row {row_number} of drop:{self._drop} does not open", fix="keep everything and find out who wrote it"
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
    """One data key, two uses: no nonce of one can meet a nonce of the other."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(data_key)


def _corrupted_original(drop: str) -> CorruptedError:
    return CorruptedError(
        f"the original of drop:{drop} is not what was kept",
        fix="keep the file as it is and find out who changed it; the vendor may still have the drop",
    )


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
