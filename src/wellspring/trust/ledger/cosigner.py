"""Cosign a log's checkpoint only if it extends the last one cosigned, and store a copy.

Format: C2SP tlog-witness. The witness has its own folder and key, which the owner of the log cannot access.
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

from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable
from wellspring.records.clock import Clock
from wellspring.runtime.files import create_once
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.trust.ledger.tree import ORIGIN_HOST
from wellspring_verify import log_keys, merkle, notes
from wellspring_verify.canonical import MalformedError

SECRET_KEY_FILE, VERIFIER_KEY_FILE, LOGS_FOLDER, CHECKPOINTS_FOLDER = "key", "vkey", "logs", "checkpoints"


class CosignResponse(NamedTuple):
    """The response of a witness, as over HTTP.

    200: its signature line; 400, 403, 404, 422: a reason; 409: the size of the last tree that it cosigned.
    """

    status: int
    body: bytes


class Cosigner(Protocol):
    """A witness, in this process or behind a socket."""

    def verifier_key(self) -> str:
        """Return the witness's verifier key."""
        ...

    def add_key(self, note: bytes) -> CosignResponse:
        """Register the succession of a log's key; the same one again changes nothing."""
        ...

    def add_checkpoint(self, old: int, proof: Sequence[bytes], note: bytes) -> CosignResponse:
        """Request a cosignature. old: the size of the last cosigned tree; proof: of consistency up to the note."""
        ...


class LocalWitness:
    """A witness with its state in one folder; safe for several processes and threads."""

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        (folder / CHECKPOINTS_FOLDER).mkdir(parents=True, exist_ok=True)
        (folder / LOGS_FOLDER).mkdir(exist_ok=True)
        self._paths = DiskBlobStore(folder)
        with self._exclusive_lock():
            self._secret = _load_signing_key(folder)
        self._key = _verifier_key_of(self._secret)
        self._paths.write_once(VERIFIER_KEY_FILE, f"{self._key}\n".encode())

    def verifier_key(self) -> str:
        return str(self._key)

    def register_log(self, vkey: str) -> None:
        """Register a log. See `register_log`."""
        register_log(self._folder, vkey)

    def latest_checkpoint(self, log: notes.VerifierKey) -> bytes | None:
        """Return the newest checkpoint that was cosigned for a log, with both signature lines."""
        return last_checkpoint(self._folder, log)

    def add_checkpoint(self, old: int, proof: Sequence[bytes], note: bytes) -> CosignResponse:
        try:
            parsed = notes.parse_note(note)
            head = notes.parse_checkpoint(parsed.text)
        except MalformedError as exc:
            return CosignResponse(400, f"{exc}\n".encode())
        keys = [key for key in registered_logs(self._folder) if key.name == head.origin]
        if not keys:
            return CosignResponse(404, b"this log is not registered with the witness\n")
        log_key = log_keys.find_key(keys[0], read_successions(self._folder, keys[0]), head.size)
        signed = [line for line in parsed.signatures if notes.verify_signature_line(line, log_key, parsed.text)]
        if not signed:
            return CosignResponse(403, b"the log's signature is invalid\n")
        if old > head.size:
            return CosignResponse(400, b"the old size is larger than the checkpoint's\n")
        # Compare and store under one lock, so that of two concurrent requests the second sees the first's result.
        with self._exclusive_lock():
            last_head = self._last_head(keys[0])
            if last_head.size != old or (last_head.size == head.size and last_head.root != head.root):
                return CosignResponse(409, f"{last_head.size}\n".encode())
            if not merkle.verify_consistency(old, head.size, last_head.root, head.root, proof):
                return CosignResponse(422, b"the proof does not lead from the last cosigned checkpoint to this one\n")
            timestamp = int(self._clock.now().timestamp())
            blob = timestamp.to_bytes(8, "big") + self._secret.sign(notes.cosignature_text(timestamp, parsed.text))
            line = notes.NoteSignature(self._key.name, self._key.key_id, blob).to_line()
            self._paths.replace(
                f"{CHECKPOINTS_FOLDER}/{keys[0].key_id.hex()}", parsed.text + b"\n" + signed[0].to_line() + line
            )
        return CosignResponse(200, line)

    def add_key(self, note: bytes) -> CosignResponse:
        """Register a key of a log that its present key has signed in, for trees after the last one cosigned."""
        try:
            lines = notes.parse_note(note).text.decode("utf-8", "replace").split("\n")
            first = next((key for key in registered_logs(self._folder) if key.name == lines[1]), None)
            if first is None:
                return CosignResponse(404, b"this log is not registered with the witness\n")
            with self._exclusive_lock():
                successions = read_successions(self._folder, first)
                if note in {succession.note for succession in successions}:
                    return CosignResponse(200, b"")
                succession = log_keys.parse_succession(successions[-1].key if successions else first, note)
                if succession.size < max(self._last_head(first).size, successions[-1].size + 1 if successions else 0):
                    return CosignResponse(409, b"the key follows before a tree that was cosigned with another\n")
                signed_notes = (*(earlier.note for earlier in successions), note)
                self._paths.replace(_successions_name(first), log_keys.encode_successions(signed_notes))
        except (MalformedError, IndexError) as exc:
            return CosignResponse(403, f"{exc}\n".encode())
        return CosignResponse(200, b"")

    def _last_head(self, log: notes.VerifierKey) -> notes.CheckpointHead:
        note = self.latest_checkpoint(log)
        try:
            return (
                notes.parse_checkpoint(notes.parse_note(note).text)
                if note
                else notes.CheckpointHead(log.name, 0, merkle.EMPTY_ROOT)
            )
        except MalformedError as exc:
            raise CorruptedError(f"the witness's copy is damaged: {exc}", fix="restore it; do not retry") from None

    @contextmanager
    def _exclusive_lock(self) -> Generator[None]:
        lock_fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock_fd)


def register_log(folder: Path, vkey: str) -> None:
    """Register a log with the witness of this folder.

    Raises Refused for a second key of the same log: its holder could sign another history.
    """
    try:
        key = notes.parse_verifier_key(vkey.strip())
        if key.kind != notes.KIND_LOG:
            raise MalformedError("it is the key of a witness")
    except MalformedError as exc:
        raise Refused(
            f"it is not the verifier key of a log: {exc}", fix="get it with `wellspring ledger key`"
        ) from None
    for registered in registered_logs(folder):
        if registered.name == key.name and registered != key:
            raise Refused(
                f"the witness has another key of the log {key.name} ({registered.key_id.hex()})",
                fix="compare both keys, then remove the old one from the witness's logs/ folder",
            )
    DiskBlobStore(folder / LOGS_FOLDER).write_once(f"{key.key_id.hex()}.vkey", f"{key}\n".encode())


def read_successions(folder: Path, first: notes.VerifierKey) -> tuple[log_keys.KeySuccession, ...]:
    """Return the successions of a log's key that the witness of this folder has. Raises CorruptedError."""
    try:
        return log_keys.parse_successions(first, DiskBlobStore(folder).read(_successions_name(first)))
    except NotFound:
        return ()
    except MalformedError as exc:
        raise CorruptedError(
            f"the keys of {first.name} in {folder / LOGS_FOLDER} are damaged: {exc}", fix="restore them from a copy"
        ) from None


def _successions_name(first: notes.VerifierKey) -> str:
    return f"{LOGS_FOLDER}/{first.key_id.hex()}.keys"


def registered_logs(folder: Path) -> list[notes.VerifierKey]:
    """List the keys of the logs that are registered with the witness of this folder."""
    paths = sorted((folder / LOGS_FOLDER).glob("*.vkey")) if (folder / LOGS_FOLDER).is_dir() else []
    try:
        keys = [notes.parse_verifier_key(path.read_text(encoding="utf-8").strip()) for path in paths]
    except (MalformedError, UnicodeDecodeError):
        raise CorruptedError(
            f"a key in {folder / LOGS_FOLDER} is damaged", fix="restore it from a copy; do not retry"
        ) from None
    return [key for key in keys if key.kind == notes.KIND_LOG]


def last_checkpoint(folder: Path, log: notes.VerifierKey) -> bytes | None:
    """Return the newest checkpoint of a log that the witness of this folder cosigned; None before the first one."""
    try:
        return DiskBlobStore(folder).read(f"{CHECKPOINTS_FOLDER}/{log.key_id.hex()}")
    except NotFound:
        return None


def cosign_checkpoint(
    witness: Cosigner,
    *,
    head: notes.CheckpointHead,
    note: bytes,
    published: bytes | None,
    prove_consistency: Callable[[int, int], list[bytes]],
) -> bytes:
    """Get the witness's signature line for a checkpoint that is not published yet.

    published: the current checkpoint. The witness may be ahead of it (after a crash between cosigning and publishing)
    but never behind. Raises CorruptedError if it has another tree, Unavailable if it does not respond.
    """
    try:
        key = notes.parse_verifier_key(witness.verifier_key())
    except MalformedError as exc:
        raise Unavailable(f"the witness returned no verifier key: {exc}", fix="run `wellspring up`") from None
    published_note = notes.parse_note(published) if published else None
    old_size = notes.parse_checkpoint(published_note.text).size if published_note else 0
    response = witness.add_checkpoint(old_size, prove_consistency(old_size, head.size), note)
    if response.status == 409:
        witness_size = int(response.body) if re.fullmatch(rb"[0-9]{1,15}\n", response.body) else -1
        if witness_size > head.size:
            raise _tree_mismatch_error(
                f"it has seen {witness_size} entries, this ledger has {head.size}: the tail was cut, or rolled back"
            )
        if (
            witness_size < old_size
            and published_note
            and any((line.name, line.key_id) == (key.name, key.key_id) for line in published_note.signatures)
        ):
            raise _tree_mismatch_error(
                f"it has seen {max(witness_size, 0)} entries, and cosigned {old_size}: the witness was rolled back"
            )
        if witness_size >= 0 and witness_size != old_size:
            response = witness.add_checkpoint(witness_size, prove_consistency(witness_size, head.size), note)
    if response.status == 409:
        raise _tree_mismatch_error("it has seen another tree of the same size: the ledger was forked")
    if response.status == 422:
        raise _tree_mismatch_error("this ledger does not extend what it has seen: the ledger was forked or rewritten")
    if response.status != 200:
        reason = ascii(response.body[:200].decode("utf-8", "replace").strip())
        raise Refused(
            f"the witness refused the checkpoint ({response.status}: {reason})",
            fix="register the log's key (`wellspring ledger key`) with the witness",
        )
    try:
        line = notes.parse_signature_line(response.body.decode("utf-8", "replace").removesuffix("\n"))
    except MalformedError:
        line = None
    if line is None or not notes.verify_signature_line(line, key, head.to_text()):
        raise Unavailable("the witness returned something that is not its signature", fix="start it again")
    return line.to_line()


def _tree_mismatch_error(detail: str) -> CorruptedError:
    return CorruptedError(
        f"the witness has another tree: {detail}", fix="stop; keep the ledger and the witness's folder; do not retry"
    )


def _verifier_key_of(secret: Ed25519PrivateKey) -> notes.VerifierKey:
    public = secret.public_key().public_bytes_raw()
    return notes.VerifierKey(f"{ORIGIN_HOST}/witness/{public.hex()[:8]}", notes.KIND_WITNESS, public)


def _load_signing_key(folder: Path) -> Ed25519PrivateKey:
    path = folder / SECRET_KEY_FILE
    if not path.exists():
        create_once(path, Ed25519PrivateKey.generate().private_bytes_raw(), mode=0o600)
    content = path.read_bytes()
    if len(content) != 32:
        raise CorruptedError(f"the witness's key {path} is damaged", fix="restore it from a copy; do not retry")
    return Ed25519PrivateKey.from_private_bytes(content)
