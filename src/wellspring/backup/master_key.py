"""The master key of a project: it unseals OpenBao, and encrypts the few secrets that a backup holds.

It leaves the project only as two shares, each encrypted under the passphrase of its custodian. One share tells nothing
about the key: it is random, and the other one is the key combined with it by XOR.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Literal

from pydantic import ValidationError

from wellspring.errors import CorruptedError, Refused
from wellspring.records.record import Frozen

KEY_BYTES = 32
MIN_PASSPHRASE_LENGTH = 16
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 1 << 16, 8, 1
"""Of scrypt: 64 MiB and about 0.2 s for each attempt at a passphrase."""


class KeyShare(Frozen):
    """The file of one custodian. check: names the key without revealing it. salt, content: base64."""

    format: Literal["wellspring master key share 1"] = "wellspring master key share 1"
    project: str
    origin: str
    custodian: Literal[1, 2]
    check: str
    salt: str
    content: str


def compute_key_check(key: bytes) -> str:
    """Return a text that tells whether two keys are the same, and nothing else about them."""
    return hmac.new(key, b"wellspring master key check", hashlib.sha256).hexdigest()[:16]


def require_strong_passphrase(passphrase: str) -> None:
    """Raise Refused for a passphrase that can be guessed."""
    if len(passphrase) < MIN_PASSPHRASE_LENGTH or len(set(passphrase)) < MIN_PASSPHRASE_LENGTH // 2:
        raise Refused(
            f"the passphrase is too weak: it needs at least {MIN_PASSPHRASE_LENGTH} characters, "
            f"{MIN_PASSPHRASE_LENGTH // 2} of them different",
            fix="choose another one, such as five random words",
        )


def split_key(key: bytes, passphrases: tuple[str, str], *, project: str, origin: str) -> tuple[KeyShare, KeyShare]:
    """Split a key into two shares, each encrypted under the passphrase of its custodian.

    Raises Refused for a weak passphrase, and if both are the same: then one custodian is enough.
    """
    for passphrase in passphrases:
        require_strong_passphrase(passphrase)
    if passphrases[0] == passphrases[1]:
        raise Refused("both passphrases are the same", fix="let each custodian type one that only they know")
    first = secrets.token_bytes(len(key))
    parts = (first, _combine(first, key))
    check = compute_key_check(key)
    return (
        _encrypt_part(parts[0], passphrases[0], 1, project, origin, check),
        _encrypt_part(parts[1], passphrases[1], 2, project, origin, check),
    )


def join_shares(shares: tuple[KeyShare, KeyShare], passphrases: tuple[str, str]) -> bytes:
    """Return the key. Raises Refused for a wrong passphrase, and for shares of different keys."""
    first, second = shares
    if {first.custodian, second.custodian} != {1, 2}:
        raise Refused("both files are of the same custodian", fix="name the file of each of the two custodians")
    if first.check != second.check:
        raise Refused("the two files are shares of different keys", fix="take both files from the same export")
    parts = [decrypt_part(share, passphrase) for share, passphrase in zip(shares, passphrases, strict=True)]
    key = _combine(*parts)
    if not hmac.compare_digest(compute_key_check(key), first.check):
        raise CorruptedError(
            "the two shares do not give the key that they name", fix="use the shares of another export"
        )
    return key


def parse_share(data: bytes, name: str) -> KeyShare:
    """Read the file of a custodian. Raises CorruptedError."""
    try:
        return KeyShare.model_validate_json(data)
    except ValidationError:
        raise CorruptedError(
            f"{name} is not a share of a master key", fix="name a file that `wellspring backup export-key` wrote"
        ) from None


class SecretCipher:
    """Encrypts files of a project under its master key; the same content gives the same bytes, so it is stored once."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(algorithm=SHA256(), length=64, salt=None, info=b"wellspring backup secrets 1").derive(key)
        self._cipher = AESSIV(derived)
        self.check = compute_key_check(key)

    def encrypt(self, content: bytes, path: str) -> bytes:
        """Encrypt a file. path: relative to the project; the content cannot be taken for that of another path."""
        return self._cipher.encrypt(content or b"\0", [b"1" if content else b"0", path.encode()])

    def decrypt(self, content: bytes, path: str) -> bytes:
        """Decrypt a file. Raises CorruptedError."""
        from cryptography.exceptions import InvalidTag

        for flag in (b"1", b"0"):
            try:
                plain = self._cipher.decrypt(content, [flag, path.encode()])
            except InvalidTag:
                continue
            return plain if flag == b"1" else b""
        raise CorruptedError(
            f"{path} cannot be decrypted with this master key", fix="use another backup; keep this one"
        )


def _encrypt_part(
    part: bytes, passphrase: str, custodian: Literal[1, 2], project: str, origin: str, check: str
) -> KeyShare:
    salt = secrets.token_bytes(16)
    empty = KeyShare(project=project, origin=origin, custodian=custodian, check=check, salt=_text(salt), content="")
    nonce = secrets.token_bytes(12)
    content = nonce + _passphrase_cipher(passphrase, salt).encrypt(nonce, part, _bound_text(empty))
    return empty.model_copy(update={"content": _text(content)})


def decrypt_part(share: KeyShare, passphrase: str) -> bytes:
    """Return what a custodian holds: a part of the key. Raises Refused for a wrong passphrase or a changed file."""
    from cryptography.exceptions import InvalidTag

    try:
        salt, content = base64.b64decode(share.salt, validate=True), base64.b64decode(share.content, validate=True)
        return _passphrase_cipher(passphrase, salt).decrypt(content[:12], content[12:], _bound_text(share))
    except (InvalidTag, ValueError):
        raise Refused(
            f"the share of custodian {share.custodian} cannot be decrypted: wrong passphrase or changed file",
            fix="type the passphrase of that custodian again",
        ) from None


def _bound_text(share: KeyShare) -> bytes:
    """Return what the encryption is bound to: everything in the file but the content."""
    return share.model_copy(update={"content": ""}).model_dump_json().encode()


def _passphrase_cipher(passphrase: str, salt: bytes):
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return AESGCM(Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(passphrase.encode()))


def _combine(first: bytes, second: bytes) -> bytes:
    return bytes(left ^ right for left, right in zip(first, second, strict=True))


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
