"""Signed notes, verifier keys, checkpoints and cosignatures, as C2SP defines them (signed-note, tlog-checkpoint,
tlog-cosignature). One spelling only: canonical base64, no leading zeros, no extension lines."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from wellspring_verify.canonical import Malformed

LOG, WITNESS = 1, 4
"""Types of keys: 0x01 Ed25519 over the text; 0x04 Ed25519 over a timed cosignature of the text."""
_MOST_LINES = 100


class Key(NamedTuple):
    """A verifier key. kind: LOG or WITNESS; public: 32 bytes of Ed25519."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that stand before a signature, to find its key."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"


class Signature(NamedTuple):
    """One signature line. blob: what follows the key id."""

    name: str
    key_id: bytes
    blob: bytes

    def line(self) -> bytes:
        """Write it as a line of a note."""
        return f"\u2014 {self.name} {base64.b64encode(self.key_id + self.blob).decode()}\n".encode()


class Note(NamedTuple):
    """A text (it ends in a newline) and its signature lines, none of them checked yet."""

    text: bytes
    signatures: tuple[Signature, ...]


class Head(NamedTuple):
    """What a checkpoint says: the tree of this log has `size` leaves and this root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> bytes:
        """Write it as the text that the log signs."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


def parse_key(text: str) -> Key:
    """Read `<name>+<8 hex of the key id>+<base64 of type and public key>`. Raises Malformed."""
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise Malformed("a verifier key reads NAME+8HEX+BASE64")
    content = unbase64(parts[2])
    if len(content) != 33 or content[0] not in (LOG, WITNESS):
        raise Malformed("only Ed25519 keys (type 1 of a log, type 4 of a witness) are known here")
    key = Key(_name(parts[0]), content[0], content[1:])
    if parts[1] != key.id.hex():
        raise Malformed("the key's id does not belong to its name and bytes: it was mistyped")
    return key


def parse(data: bytes) -> Note:
    """Read a signed note without checking any signature. Raises Malformed."""
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("it is not UTF-8") from None
    if any(letter < " " and letter != "\n" for letter in whole):
        raise Malformed("it holds a control character")
    split = whole.rfind("\n\n")
    if split < 0 or not whole.endswith("\n"):
        raise Malformed("it is no signed note: text, an empty line, signature lines")
    lines = whole[split + 2 :].split("\n")[:-1]
    if not 1 <= len(lines) <= _MOST_LINES:
        raise Malformed("it holds no signature line, or too many")
    return Note(whole[: split + 1].encode(), tuple(parse_line(line) for line in lines))


def parse_line(line: str) -> Signature:
    """Read one signature line, without its newline. Raises Malformed."""
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "\u2014":
        raise Malformed("a signature line reads: em dash, name, base64")
    content = unbase64(parts[2])
    if len(content) < 5:
        raise Malformed("a signature is shorter than its key id")
    return Signature(_name(parts[1]), content[:4], content[4:])


def parse_head(text: bytes) -> Head:
    """Read the text of a checkpoint: origin, size, root, and nothing more. Raises Malformed."""
    lines = text.decode("utf-8", "replace").split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:
        raise Malformed("a checkpoint has exactly three lines: origin, size, root")
    size, top = lines[1], unbase64(lines[2])
    if not (size.isascii() and size.isdigit() and len(size) <= 15) or (size[0] == "0" and size != "0"):
        raise Malformed("its size is no plain decimal number")
    if len(top) != 32:
        raise Malformed("its root is no SHA-256")
    return Head(lines[0], int(size), top)


def signs(signature: Signature, key: Key, text: bytes) -> bool:
    """Say whether this line is that key's signature (or cosignature) of the text."""
    if (signature.name, signature.key_id) != (key.name, key.id):
        return False
    blob, message = signature.blob, text
    if key.kind == WITNESS:
        if len(blob) != 72:
            return False
        message, blob = cosigned(int.from_bytes(blob[:8], "big"), text), blob[8:]
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(blob, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def cosigned(at: int, text: bytes) -> bytes:
    """Return what a witness signs: the text with the second (POSIX time) at which it saw it."""
    return f"cosignature/v1\ntime {at}\n".encode() + text


def unbase64(text: str) -> bytes:
    """Read base64 in its one canonical spelling. Raises Malformed."""
    try:
        content = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise Malformed("it holds something that is not base64") from None
    if base64.b64encode(content).decode() != text:
        raise Malformed("its base64 is not in the canonical form")
    return content


def _name(text: str) -> str:
    if not text or "+" in text or any(letter.isspace() for letter in text):
        raise Malformed("a key's name is not empty and holds no space and no +")
    return text
