"""What of the enclave's is locked, and how it is opened: originals, token keys, the masked rows of quarantine."""

from __future__ import annotations

import json
from pathlib import Path

from wellspring.data import land
from wellspring.enclave.judging import Judgement
from wellspring.errors import NotFound
from wellspring.records.data import Contract, QuarantinedRow
from wellspring.trust.keys.port import Keys
from wellspring.trust.tokenization import Tokenizer
from wellspring.trust.vault.kept import Kept, Waiting
from wellspring.trust.vault.postgres import VaultStore
from wellspring_verify import canonical

TOKENS = "tokens"
SHOWN = 1000
"""Rows of one drop that are listed at most."""


class Opener:
    """Opens with keys that are unwrapped for one act and not kept."""

    def __init__(self, store: VaultStore, keys: Keys, *, folder: Path) -> None:
        self._store = store
        self._keys = keys
        self._folder = folder

    def original(self, kept: Kept) -> bytes:
        """Return a drop's bytes as they came. Raises NotFound once its retention has ended."""
        if kept.wrapped is None:
            raise NotFound(
                f"the original of {kept.drop.subject} is gone: its retention ended", fix="ask the vendor for a new file"
            )
        return land.open_original(kept.drop, kept.wrapped, keys=self._keys, folder=self._folder)

    def tokenizer(self, contract: Contract) -> Tokenizer:
        """Open the token keys of a contract's domains; a domain that has none gets one, for ever."""
        domains = {column.domain for column in contract.columns if column.leaves == "token" and column.domain}
        for domain in sorted(domains - self._store.token_keys().keys()):
            self._store.add_token_key(domain, 1, self._keys.data_key(TOKENS).wrapped)
        kept = self._store.token_keys()
        return Tokenizer({name: (kept[name][0], self._keys.unwrap(TOKENS, kept[name][1])) for name in domains})

    def sealed(self, kept: Kept, judgement: Judgement) -> list[Waiting]:
        """Seal the masked values of the rows that wait."""
        if not judgement.waiting:
            return []
        sealer = self._sealer(kept.drop.id, kept.wrapped or "")
        return [
            Waiting(number, sealer.seal(canonical.dumps(dict(held.shown)), number), held.reasons, held.fault)
            for number, held in judgement.waiting.items()
        ]

    def shown(self, kept: Kept) -> list[QuarantinedRow]:
        """List the rows of a drop that wait, masked; without any value once their key is destroyed."""
        rows = self._store.quarantined(kept.drop.id, at_most=SHOWN)
        sealer = self._sealer(kept.drop.id, kept.wrapped) if kept.wrapped and rows else None
        return [
            QuarantinedRow(
                drop=kept.drop.id,
                row_number=row.row_number,
                reasons=row.reasons,
                values=json.loads(sealer.open(row.sealed, row.row_number)) if sealer is not None else {},
                waiting_until=kept.retention_until,
            )
            for row in rows
        ]

    def _sealer(self, drop: str, wrapped: str) -> land.Sealer:
        return land.Sealer(self._keys.unwrap(land.KEY, wrapped), drop)
