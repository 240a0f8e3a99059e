"""Reads the verifier keys of a log and its witness, and the witness's own copy, from their folders."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from wellspring.errors import Broken, NotFound
from wellspring.stores.objects.disk import DiskPaths
from wellspring.trust.ledger.cosigner import VKEY, logs, seen
from wellspring.trust.ledger.tree import LOG_KEY
from wellspring_verify import notes
from wellspring_verify.canonical import Malformed


class Keys(NamedTuple):
    """log, witness: verifier keys. seen: the newest checkpoint that the witness cosigned; None if it saw none.
    registered: the log's key as the witness knows it; None if the witness does not know the log."""

    log: str
    witness: str
    seen: bytes | None
    registered: str | None


def read(ledger: Path, witness: Path) -> Keys:
    """Read the keys out of the two folders; nothing needs to run. Raises NotFound before the first checkpoint."""
    log = _key(ledger, LOG_KEY)
    registered = next((key for key in logs(witness) if key.name == log.name), None)
    return Keys(
        log=str(log),
        witness=str(_key(witness, VKEY)),
        seen=seen(witness, registered or log),
        registered=str(registered) if registered else None,
    )


def _key(folder: Path, name: str) -> notes.Key:
    try:
        return notes.parse_key(DiskPaths(folder).read(name).decode("utf-8", "replace").strip())
    except NotFound:
        raise NotFound(f"there is no key in {folder} yet", fix="run `wellspring up`") from None
    except Malformed as wrong:
        raise Broken(f"the verifier key in {folder} is damaged: {wrong}", fix="restore it from a copy") from None
