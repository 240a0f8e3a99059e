"""A witness: cosigns a log's checkpoint only if it continues the one it cosigned before, and keeps a copy.

Format: C2SP tlog-witness. It has a folder and a key of its own; the log's owner holds neither.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wellspring.errors import Broken, NotFound, Refused, Unavailable
from wellspring.records.clock import Clock
from wellspring.stores.objects.disk import DiskPaths
from wellspring.trust.ledger.tree import HOST
from wellspring_verify import merkle, notes
from wellspring_verify.canonical import Malformed

KEY, VKEY, LOGS, SEEN = "key", "vkey", "logs", "seen"


class Answer(NamedTuple):
    """What a witness answers, as over HTTP: 200 with its signature line; 400, 403, 404, 422 with a reason;
    409 with the size of the tree that it knows."""

    status: int
    body: bytes


class Cosigner(Protocol):
    """A witness, here or behind a socket."""

    def vkey(self) -> str:
        """Return the witness's verifier key."""
        ...

    def add_checkpoint(self, old: int, proof: Sequence[bytes], note: bytes) -> Answer:
        """Ask for a cosignature. old: the size that the witness is believed to know; proof: from there to the note."""
        ...


class Witness:
    """A witness with its state in one folder; several processes and threads may ask it at once."""

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        (folder / SEEN).mkdir(parents=True, exist_ok=True)
        (folder / LOGS).mkdir(exist_ok=True)
        self._paths = DiskPaths(folder)
        with self._alone():
            self._secret = _secret(folder)
        self._key = _key_of(self._secret)
        self._paths.write_once(VKEY, f"{self._key}\n".encode())

    def vkey(self) -> str:
        return str(self._key)

    def register(self, vkey: str) -> None:
        """Begin to watch a log. See `register`."""
        register(self._folder, vkey)

    def latest(self, log: notes.Key) -> bytes | None:
        """Return the newest checkpoint that was cosigned for a log, with both signature lines."""
        return seen(self._folder, log)

    def add_checkpoint(self, old: int, proof: Sequence[bytes], note: bytes) -> Answer:
        try:
            parsed = notes.parse(note)
            head = notes.parse_head(parsed.text)
        except Malformed as wrong:
            return Answer(400, f"{wrong}\n".encode())
        keys = [key for key in logs(self._folder) if key.name == head.origin]
        if not keys:
            return Answer(404, b"this witness does not know that log\n")
        signed = [line for line in parsed.signatures if any(notes.signs(line, key, parsed.text) for key in keys)]
        if not signed:
            return Answer(403, b"the log's signature does not hold\n")
        if old > head.size:
            return Answer(400, b"the old size is larger than the checkpoint's\n")
        # Compared and kept under one lock: of two that race, the second sees what the first one left.
        with self._alone():
            before = self._before(keys[0])
            if before.size != old or (before.size == head.size and before.root != head.root):
                return Answer(409, f"{before.size}\n".encode())
            if not merkle.consistent(old, head.size, before.root, head.root, proof):
                return Answer(422, b"the proof does not lead from the known checkpoint to this one\n")
            at = int(self._clock.now().timestamp())
            blob = at.to_bytes(8, "big") + self._secret.sign(notes.cosigned(at, parsed.text))
            line = notes.Signature(self._key.name, self._key.id, blob).line()
            self._paths.swap(f"{SEEN}/{keys[0].id.hex()}", parsed.text + b"\n" + signed[0].line() + line)
        return Answer(200, line)

    def _before(self, log: notes.Key) -> notes.Head:
        note = self.latest(log)
        try:
            return notes.parse_head(notes.parse(note).text) if note else notes.Head(log.name, 0, merkle.EMPTY)
        except Malformed as wrong:
            raise Broken(f"the witness's copy is damaged: {wrong}", fix="restore it; do not retry") from None

    @contextmanager
    def _alone(self) -> Generator[None]:
        handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def register(folder: Path, vkey: str) -> None:
    """Let the witness of this folder watch a log; the first key that a log's name is registered with stays.

    Raises Refused for a second key of the same log: whoever could bring one could sign another past with it.
    """
    try:
        key = notes.parse_key(vkey.strip())
        if key.kind != notes.LOG:
            raise Malformed("it is the key of a witness")
    except Malformed as wrong:
        raise Refused(f"that is no verifier key of a log: {wrong}", fix="get it with `wellspring ledger key`") from None
    for other in logs(folder):
        if other.name == key.name and other != key:
            raise Refused(
                f"the witness knows the log {key.name} with another key ({other.id.hex()})",
                fix="a person compares both keys, then removes the old one from the witness's logs/ folder",
            )
    DiskPaths(folder / LOGS).write_once(f"{key.id.hex()}.vkey", f"{key}\n".encode())


def logs(folder: Path) -> list[notes.Key]:
    """List the logs that the witness of this folder watches."""
    found = sorted((folder / LOGS).glob("*.vkey")) if (folder / LOGS).is_dir() else []
    try:
        keys = [notes.parse_key(path.read_text(encoding="utf-8").strip()) for path in found]
    except (Malformed, UnicodeDecodeError):
        raise Broken(f"a key in {folder / LOGS} is damaged", fix="restore it from a copy; do not retry") from None
    return [key for key in keys if key.kind == notes.LOG]


def seen(folder: Path, log: notes.Key) -> bytes | None:
    """Return the newest checkpoint of a log that the witness of this folder cosigned, None if there was none."""
    try:
        return DiskPaths(folder).read(f"{SEEN}/{log.id.hex()}")
    except NotFound:
        return None


def cosign(
    witness: Cosigner,
    *,
    head: notes.Head,
    note: bytes,
    published: bytes | None,
    prove: Callable[[int, int], list[bytes]],
) -> bytes:
    """Get the witness's signature line for a checkpoint that is not published yet.

    published: the checkpoint that readers have. The witness may be ahead of it (a crash came after its signature and
    before the swap) but never behind. Raises Broken when it holds another tree, Unavailable when it does not answer.
    """
    try:
        key = notes.parse_key(witness.vkey())
    except Malformed as wrong:
        raise Unavailable(f"the witness does not say its key: {wrong}", fix="run `wellspring up`") from None
    before = notes.parse(published) if published else None
    old = notes.parse_head(before.text).size if before else 0
    answer = witness.add_checkpoint(old, prove(old, head.size), note)
    if answer.status == 409:
        knows = int(answer.body) if re.fullmatch(rb"[0-9]{1,15}\n", answer.body) else -1
        if knows > head.size:
            raise _another(f"it has seen {knows} entries, this has {head.size}: a cut tail, or a rollback")
        if knows < old and before and any((one.name, one.key_id) == (key.name, key.id) for one in before.signatures):
            raise _another(f"it knows {max(knows, 0)} entries, and cosigned {old}: the witness itself was rolled back")
        if knows >= 0 and knows != old:
            answer = witness.add_checkpoint(knows, prove(knows, head.size), note)
    if answer.status == 409:
        raise _another("it has seen another tree of the same size: the ledger was forked")
    if answer.status == 422:
        raise _another("this ledger does not continue what it has seen: the ledger was forked or rewritten")
    if answer.status != 200:
        said = ascii(answer.body[:200].decode("utf-8", "replace").strip())
        raise Refused(
            f"the witness refused the checkpoint ({answer.status}: {said})",
            fix="register the log's key (`wellspring ledger key`) with the witness",
        )
    try:
        line = notes.parse_line(answer.body.decode("utf-8", "replace").removesuffix("\n"))
    except Malformed:
        line = None
    if line is None or not notes.signs(line, key, head.text()):
        raise Unavailable("the witness answered with something that is not its signature", fix="start it again")
    return line.line()


def _another(what: str) -> Broken:
    return Broken(
        f"the witness holds another tree: {what}", fix="stop; keep the ledger and the witness's folder; do not retry"
    )


def _key_of(secret: Ed25519PrivateKey) -> notes.Key:
    public = secret.public_key().public_bytes_raw()
    return notes.Key(f"{HOST}/witness/{public.hex()[:8]}", notes.WITNESS, public)


def _secret(folder: Path) -> Ed25519PrivateKey:
    path = folder / KEY
    if not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes_raw())
            file.flush()
            os.fsync(file.fileno())
    content = path.read_bytes()
    if len(content) != 32:
        raise Broken(f"the witness's key {path} is damaged", fix="restore it from a copy; do not retry")
    return Ed25519PrivateKey.from_private_bytes(content)
