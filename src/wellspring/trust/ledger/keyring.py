"""Read the verifier keys of a log and its witness, and the witness's own copy, from their folders."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import NamedTuple

from wellspring.errors import CorruptedError, NotFound
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.trust.ledger.cosigner import VERIFIER_KEY_FILE, last_checkpoint, registered_logs
from wellspring.trust.ledger.tree import LOG_KEY_FILE, MerkleTree
from wellspring_verify import notes
from wellspring_verify.canonical import MalformedError


class LogVerifierKeys(NamedTuple):
    """The verifier keys of a log and its witness.

    last_cosigned: the newest checkpoint that the witness cosigned; None before the first one. registered_key: the key
    of the log that is registered with the witness; None if it is not registered.
    """

    log_key: str
    witness_key: str
    last_cosigned: bytes | None
    registered_key: str | None


def read_verifier_keys(ledger: Path, witness: Path) -> LogVerifierKeys:
    """Read the keys from the two folders; no server is needed. Raises NotFound before the first checkpoint."""
    log = _read_verifier_key(ledger, LOG_KEY_FILE)
    registered = next((key for key in registered_logs(witness) if key.name == log.name), None)
    return LogVerifierKeys(
        log_key=str(log),
        witness_key=str(_read_verifier_key(witness, VERIFIER_KEY_FILE)),
        last_cosigned=last_checkpoint(witness, registered or log),
        registered_key=str(registered) if registered else None,
    )


def read_matching_checkpoint(
    tree: MerkleTree, ledger: Path, witness: Path, *, timeout: float = 2.0
) -> tuple[LogVerifierKeys, bytes | None]:
    """Read the keys, and a checkpoint that the witness's copy equals; None before the first one.

    While the log grows, the witness is ahead of the published checkpoint for moments. timeout: seconds after which both
    are returned as they are, so that an audit names the difference.
    """
    deadline, pause = time.monotonic() + timeout, threading.Event()
    while True:
        keys = read_verifier_keys(ledger, witness)
        try:
            checkpoint = tree.read_checkpoint()
        except NotFound:
            checkpoint = None
        if checkpoint == keys.last_cosigned or time.monotonic() > deadline:
            return keys, checkpoint
        pause.wait(0.02)


def _read_verifier_key(folder: Path, name: str) -> notes.VerifierKey:
    try:
        return notes.parse_verifier_key(DiskBlobStore(folder).read(name).decode("utf-8", "replace").strip())
    except NotFound:
        raise NotFound(f"no verifier key found in {folder}", fix="run `wellspring up`") from None
    except MalformedError as exc:
        raise CorruptedError(f"the verifier key in {folder} is damaged: {exc}", fix="restore it from a copy") from None
