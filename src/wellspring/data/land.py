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

from wellspring.errors import Broken, NotFound
from wellspring.records.data import Contract, Drop
from wellspring.records.record import Digest
from wellspring.trust.keys.port import Keys

KEY = "originals"
CHUNK = 1 << 20
_MAGIC = b"wellspring-original-1\n"
_RANDOM = 7
_TAG = 16


class Original(NamedTuple):
    """What is known of a kept original. digest: of its ciphertext. wrapped: its data key, wrapped."""

    drop: Drop
    digest: Digest
    wrapped: str
    retention_until: datetime


def drop_id(source: str, name: str, digest: Digest) -> str:
    """Name the drop of these bytes under this name: the same file fetched again is the same drop."""
    text = "\0".join((source, name, digest))
    return f"{source}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def land(
    content: bytes,
    *,
    source: str,
    name: str,
    contract: Contract,
    keys: Keys,
    folder: Path,
    received: datetime,
) -> Original:
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
    key = keys.data_key(KEY)
    hashed = hashlib.sha256()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=".tmp-", dir=folder)
    with os.fdopen(handle, "wb") as file:
        for piece in _seal(content, _own_key(key.plain), drop.id):
            hashed.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, folder / drop.id)
    _fsync(folder)
    return Original(drop, hashed.hexdigest(), key.wrapped, received + timedelta(days=contract.retention_days))


def open_original(drop: Drop, wrapped: str, *, keys: Keys, folder: Path) -> bytes:
    """Return the bytes of a drop as they came. Raises NotFound if they are not kept, Broken if they are not those."""
    try:
        sealed = (folder / drop.id).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"the original of {drop.subject} is not kept", fix="ask the vendor to send it again") from None
    content = b"".join(_opened(sealed, _own_key(keys.unwrap(KEY, wrapped)), drop.id))
    if hashlib.sha256(content).hexdigest() != drop.digest:
        raise _broken(drop.id)
    return content


def kept(folder: Path) -> tuple[str, ...]:
    """Name every file that lies among the originals, unfinished ones (`.tmp-`) too."""
    return tuple(sorted(os.listdir(folder))) if folder.is_dir() else ()


def remove(name: str, *, folder: Path) -> None:
    """Remove one file from among the originals; nothing happens if it is not there."""
    (folder / name).unlink(missing_ok=True)
    if folder.is_dir():
        _fsync(folder)


class Sealer:
    """Seals small things (a quarantined row) of one drop, under a key derived from the drop's data key."""

    def __init__(self, plain: bytes, drop: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(_derived(plain, b"wellspring quarantine 1"))
        self._drop = drop

    def seal(self, content: bytes, place: int) -> bytes:
        """place: the row's number; what was sealed for one row does not open as another."""
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, content, f"{self._drop}|{place}".encode())

    def open(self, sealed: bytes, place: int) -> bytes:
        """Raises Broken."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], f"{self._drop}|{place}".encode())
        except (InvalidTag, ValueError):
            raise Broken(
                f"row {place} of drop:{self._drop} does not open", fix="keep everything and find out who wrote it"
            ) from None


def _seal(content: bytes, key: bytes, drop: str) -> Iterator[bytes]:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(key)
    random = os.urandom(_RANDOM)
    yield _MAGIC + random
    view = memoryview(content)
    last = max(0, (len(content) - 1) // CHUNK)
    for place in range(last + 1):
        nonce, bound = _frame(random, drop, place, place == last)
        yield cipher.encrypt(nonce, view[place * CHUNK : (place + 1) * CHUNK], bound)


def _opened(sealed: bytes, key: bytes, drop: str) -> Iterator[bytes]:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(key)
    start = len(_MAGIC) + _RANDOM
    if len(sealed) < start + _TAG or not sealed.startswith(_MAGIC):
        raise _broken(drop)
    random = sealed[len(_MAGIC) : start]
    view = memoryview(sealed)[start:]
    step = CHUNK + _TAG
    last = (len(view) - 1) // step
    for place in range(last + 1):
        nonce, bound = _frame(random, drop, place, place == last)
        try:
            yield cipher.decrypt(nonce, view[place * step : (place + 1) * step], bound)
        except (InvalidTag, ValueError):
            raise _broken(drop) from None


def _frame(random: bytes, drop: str, place: int, last: bool) -> tuple[bytes, bytes]:
    tail = place.to_bytes(4, "big") + bytes([last])
    return random + tail, b"wellspring original 1|" + drop.encode() + b"|" + tail


def _own_key(plain: bytes) -> bytes:
    return _derived(plain, b"wellspring original 1")


def _derived(plain: bytes, use: bytes) -> bytes:
    """One data key, two uses: no nonce of one can meet a nonce of the other."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=None, info=use).derive(plain)


def _broken(drop: str) -> Broken:
    return Broken(
        f"the original of drop:{drop} is not what was kept",
        fix="keep the file as it is and find out who changed it; the vendor may still have the drop",
    )


def _fsync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
