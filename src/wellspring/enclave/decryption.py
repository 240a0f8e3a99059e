"""Decrypt originals, token keys and the masked rows in quarantine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from wellspring.data.intake import originals
from wellspring.errors import NotFound
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import QuarantinedRow
from wellspring.trust.keys.port import DataKeys
from wellspring.trust.tokenization import Tokenizer
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.records import StoredDrop
from wellspring_verify import canonical

TOKENIZER_KEY_NAME = "tokens"
NAME_KEY_DOMAIN = "(file names)"
"""Where the key of the digests of file names is stored; no token domain can have this name."""
MAX_LISTED_ROWS = 1000
"""Maximum number of listed rows of one drop."""


class Decryptor:
    """Unwraps keys for one operation and does not cache them."""

    def __init__(self, store: VaultStore, keys: DataKeys, *, folder: Path) -> None:
        self._store = store
        self._keys = keys
        self._folder = folder

    def open_original(self, stored_drop: StoredDrop) -> originals.OriginalContent:
        """Open the original of a drop. Raises NotFound after its retention ended."""
        if stored_drop.wrapped_key is None:
            raise NotFound(
                f"the original of {stored_drop.drop.subject} was removed: its retention ended",
                fix="ask the vendor for a new file",
            )
        return originals.open_original(stored_drop.drop, stored_drop.wrapped_key, keys=self._keys, folder=self._folder)

    def tokenizer_for(self, contract: DataContract, *, tenant: str = "") -> Tokenizer:
        """Build a tokenizer for the token domains of a contract. Creates a permanent key for a domain without one.

        tenant: whose values these are; empty for the project's own tenant.
        """
        domains = {column.domain for column in contract.columns if column.egress == "token" and column.domain}
        for domain in sorted(domains - self._store.list_token_keys().keys()):
            self._store.add_token_key(domain, 1, self._keys.generate_data_key(TOKENIZER_KEY_NAME).wrapped)
        token_keys = self._store.list_token_keys()
        return Tokenizer(
            {
                name: (token_keys[name][0], self._keys.unwrap_key(TOKENIZER_KEY_NAME, token_keys[name][1]))
                for name in domains
            },
            tenant=tenant,
        )

    def name_key(self) -> bytes:
        """Return the key of the digests of file names, which is created at its first use."""
        if NAME_KEY_DOMAIN not in (token_keys := self._store.list_token_keys()):
            self._store.add_token_key(NAME_KEY_DOMAIN, 1, self._keys.generate_data_key(TOKENIZER_KEY_NAME).wrapped)
            token_keys = self._store.list_token_keys()
        return self._keys.unwrap_key(TOKENIZER_KEY_NAME, token_keys[NAME_KEY_DOMAIN][1])

    def row_sealer(self, stored_drop: StoredDrop) -> Callable[[Mapping[str, str], int], bytes]:
        """Return a function that encrypts the masked values of a quarantined row."""
        cipher = self._row_cipher(stored_drop.drop.id, stored_drop.wrapped_key or "")
        return lambda values, number: cipher.seal(canonical.dumps_canonical(dict(values)), number)

    def masked_rows(self, stored_drop: StoredDrop) -> list[QuarantinedRow]:
        """List the quarantined rows of a drop, masked. After the key is destroyed, the rows have no values."""
        rows = self._store.list_quarantined(stored_drop.drop.id, limit=MAX_LISTED_ROWS)
        cipher = (
            self._row_cipher(stored_drop.drop.id, stored_drop.wrapped_key) if stored_drop.wrapped_key and rows else None
        )
        return [
            QuarantinedRow(
                drop=stored_drop.drop.id,
                row_number=row.row_number,
                reasons=row.reasons,
                values=json.loads(cipher.open(row.sealed, row.row_number)) if cipher is not None else {},
                expires_at=stored_drop.retention_until,
            )
            for row in rows
        ]

    def _row_cipher(self, drop: str, wrapped_key: str) -> originals.RowCipher:
        return originals.RowCipher(self._keys.unwrap_key(originals.ORIGINALS_KEY_NAME, wrapped_key), drop)
