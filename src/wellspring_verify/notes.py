"""Parse signed notes, verifier keys, checkpoints and cosignatures.

Formats: C2SP signed-note, tlog-checkpoint, tlog-cosignature. Only one spelling is accepted: canonical base64, no
leading zeros, no extension lines.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from wellspring_verify.canonical import MalformedError

KIND_LOG, KIND_WITNESS = 1, 4
"""Key types: 0x01 Ed25519 signs the text; 0x04 Ed25519 signs a timestamped cosignature of the text."""
_MAX_SIGNATURES = 100


class VerifierKey(NamedTuple):
    """A verifier key. kind: KIND_LOG or KIND_WITNESS; public_key: 32 bytes, Ed25519."""

    name: str
    kind: int
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes before a signature that identify its key."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public_key).decode()}"


class NoteSignature(NamedTuple):
    """One signature line. blob: the bytes after the key id."""

    name: str
    key_id: bytes
    blob: bytes

    def to_line(self) -> bytes:
        """Write it as a line of a note."""
        return f"\u2014 {self.name} {base64.b64encode(self.key_id + self.blob).decode()}\n".encode()


class SignedNote(NamedTuple):
    """A text (it ends in a newline) and its signature lines, not verified."""

    text: bytes
    signatures: tuple[NoteSignature, ...]


class CheckpointHead(NamedTuple):
    """The content of a checkpoint: the tree of this log has `size` leaves and this root."""

    origin: str
    size: int
    root: bytes

    def to_text(self) -> bytes:
        """Write it as the text that the log signs."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


def parse_verifier_key(text: str) -> VerifierKey:
    """Read `<name>+<8 hex of the key id>+<base64 of type and public key>`. Raises MalformedError."""
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise MalformedError("a verifier key has the form NAME+8HEX+BASE64")
    content = decode_base64(parts[2])
    if len(content) != 33 or content[0] not in (KIND_LOG, KIND_WITNESS):
        raise MalformedError("only Ed25519 keys (type 1 of a log, type 4 of a witness) are supported")
    key = VerifierKey(_check_key_name(parts[0]), content[0], content[1:])
    if parts[1] != key.key_id.hex():
        raise MalformedError("the key's id does not match its name and bytes: it was mistyped")
    return key


def parse_note(data: bytes) -> SignedNote:
    """Read a signed note without verifying its signatures. Raises MalformedError."""
    try:
        note_text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError("it is not UTF-8") from None
    if any(letter < " " and letter != "\n" for letter in note_text):
        raise MalformedError("it contains a control character")
    split = note_text.rfind("\n\n")
    if split < 0 or not note_text.endswith("\n"):
        raise MalformedError("it is not a signed note: text, an empty line, signature lines")
    lines = note_text[split + 2 :].split("\n")[:-1]
    if not 1 <= len(lines) <= _MAX_SIGNATURES:
        raise MalformedError("it has no signature line, or too many")
    return SignedNote(note_text[: split + 1].encode(), tuple(parse_signature_line(line) for line in lines))


def parse_signature_line(line: str) -> NoteSignature:
    """Read one signature line, without its newline. Raises MalformedError."""
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "\u2014":
        raise MalformedError("a signature line has the form: em dash, name, base64")
    content = decode_base64(parts[2])
    if len(content) < 5:
        raise MalformedError("a signature is shorter than its key id")
    return NoteSignature(_check_key_name(parts[1]), content[:4], content[4:])


def parse_checkpoint(text: bytes) -> CheckpointHead:
    """Read the text of a checkpoint: origin, size and root. Raises MalformedError."""
    lines = text.decode("utf-8", "replace").split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:
        raise MalformedError("a checkpoint has exactly three lines: origin, size, root")
    size, root = lines[1], decode_base64(lines[2])
    if not (size.isascii() and size.isdigit() and len(size) <= 15) or (size[0] == "0" and size != "0"):
        raise MalformedError("its size is not a plain decimal number")
    if len(root) != 32:
        raise MalformedError("its root is not a SHA-256")
    return CheckpointHead(lines[0], int(size), root)


def verify_signature_line(signature: NoteSignature, key: VerifierKey, text: bytes) -> bool:
    """Return whether the line is a valid signature (or cosignature) of the text by the key."""
    if (signature.name, signature.key_id) != (key.name, key.key_id):
        return False
    blob, message = signature.blob, text
    if key.kind == KIND_WITNESS:
        if len(blob) != 72:
            return False
        message, blob = cosignature_text(int.from_bytes(blob[:8], "big"), text), blob[8:]
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(blob, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def cosignature_text(timestamp: int, text: bytes) -> bytes:
    """Return the text that a witness signs: the checkpoint with the time of cosigning, in POSIX seconds."""
    return f"cosignature/v1\ntime {timestamp}\n".encode() + text


def decode_base64(text: str) -> bytes:
    """Read base64 in its canonical spelling. Raises MalformedError."""
    try:
        content = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise MalformedError("it contains something that is not base64") from None
    if base64.b64encode(content).decode() != text:
        raise MalformedError("its base64 is not in the canonical form")
    return content


def _check_key_name(text: str) -> str:
    if not text or "+" in text or any(letter.isspace() for letter in text):
        raise MalformedError("a key's name must not be empty and must not contain a space or +")
    return text
