"""The keys of a log: the first one, and those that followed it, each signed in by the key before it.

A succession is a signed note with the origin of the log, the size of the tree after which the new key signs, and the
verifier key of the new key; the former key and the new key sign it. So who has the first key, by another channel,
needs no other: a checkpoint is verified with the key that signed for its size. The successions of a log are a JSON
list of notes, oldest first.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from wellspring_verify import notes
from wellspring_verify.canonical import MalformedError, dumps_canonical, loads_canonical

_TITLE = "wellspring log key"


class KeySuccession(NamedTuple):
    """One change of the key. size: of the last tree that the former key signed. note: the signed note."""

    size: int
    key: notes.VerifierKey
    note: bytes


def succession_text(origin: str, size: int, key: notes.VerifierKey) -> bytes:
    """Return the text that the former key and the new key sign."""
    return f"{_TITLE}\n{origin}\n{size}\n{key}\n".encode()


def encode_successions(signed_notes: tuple[bytes, ...]) -> bytes:
    """Write the successions of a log, oldest first."""
    return dumps_canonical([note.decode("utf-8") for note in signed_notes])


def parse_successions(first: notes.VerifierKey, data: bytes | None) -> tuple[KeySuccession, ...]:
    """Verify and return the successions that follow a key; data: None or empty for a log that has its first key.

    Raises MalformedError if one is not signed by the key before it and by its own, or is not of this log.
    """
    if not data:
        return ()
    value = loads_canonical(data)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise MalformedError("the keys of the log are not a list of notes")
    successions: list[KeySuccession] = []
    former, size = first, -1
    for text in cast("list[str]", value):
        succession = parse_succession(former, text.encode("utf-8"))
        if succession.size <= size:
            raise MalformedError("a key of the log follows at a smaller size than the one before it")
        successions.append(succession)
        former, size = succession.key, succession.size
    return tuple(successions)


def parse_succession(former: notes.VerifierKey, note: bytes) -> KeySuccession:
    """Verify one succession. former: the key before it. Raises MalformedError."""
    parsed = notes.parse_note(note)
    lines = parsed.text.decode("utf-8").split("\n")
    if len(lines) != 5 or lines[0] != _TITLE or lines[4]:
        raise MalformedError("it is not the succession of a log's key")
    size, key = lines[2], notes.parse_verifier_key(lines[3])
    if not (size.isascii() and size.isdigit() and len(size) <= 15) or (size[0] == "0" and size != "0"):
        raise MalformedError("the size of a succession is not a plain decimal number")
    if not lines[1] == key.name == former.name or key.kind != notes.KIND_LOG or key == former:
        raise MalformedError("the succession is of another log, or of the same key")
    for signer in (former, key):
        if not any(notes.verify_signature_line(line, signer, parsed.text) for line in parsed.signatures):
            raise MalformedError(f"the new key of the log is not signed by the key {signer.key_id.hex()}")
    return KeySuccession(int(size), key, note)


def find_key(first: notes.VerifierKey, successions: tuple[KeySuccession, ...], size: int) -> notes.VerifierKey:
    """Return the key that signs for a tree of this size: no later key for an earlier tree, and no former one later."""
    return next((succession.key for succession in reversed(successions) if size > succession.size), first)
