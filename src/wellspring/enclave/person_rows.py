"""Seal a row for each person of a drop who has none: what the vault needs to lead a token back, or to erase a person.

Only who is new is encrypted, and the rows wait encrypted in a file without a name until the drop is stored.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from wellspring.enclave.spool import open_spool
from wellspring.records.contracts import ContractColumn, DataContract
from wellspring.trust.keys.port import DataKeys
from wellspring.trust.person_cipher import PEOPLE_KEY_NAME, PersonCipher
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.postgres_people import PersonRows, encode_rows

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from wellspring.trust.person_cipher import SealedPerson


_BLOCK_BYTES = 1 << 20


class PersonKeys:
    """The key-encryption keys of the person rows. They are unwrapped for one operation and not cached."""

    def __init__(self, store: VaultStore, keys: DataKeys) -> None:
        self._store = store
        self._keys = keys

    def open_cipher(self) -> PersonCipher:
        """Return the cipher of the newest version; the first one is made here."""
        if not self._store.people.list_keys():
            self._add_version()
        stored = self._store.people.list_keys()
        return self._open_version(max(stored), stored)

    def open_row(self, row: SealedPerson) -> dict[str, str | None]:
        """Return the original values of a person row, of any version. Raises NotFound, CorruptedError."""
        return self._open_version(row.key_version, self._store.people.list_keys()).open_row(row)

    def follow_rotation(self) -> None:
        """Make a key of the version to which the key server has rotated since. Rows of earlier versions stay."""
        if self._store.people.list_keys():
            self._add_version()

    def _add_version(self) -> None:
        data_key = self._keys.generate_data_key(PEOPLE_KEY_NAME)
        self._store.people.add_key(data_key.version, data_key.wrapped)

    def _open_version(self, version: int, stored: dict[int, str]) -> PersonCipher:
        return PersonCipher(self._keys.unwrap_key(PEOPLE_KEY_NAME, stored[version]), version)


class PersonRowSealer:
    """Collects the new person rows of one drop, batch by batch.

    list_missing: returns those of some tokens that have no row. folder: of the spool.
    """

    def __init__(
        self,
        contract: DataContract,
        cipher: PersonCipher,
        list_missing: Callable[[Sequence[str]], frozenset[str]],
        *,
        tenant: str,
        folder: Path,
    ) -> None:
        import polars as pl

        self._person = find_person_column(contract)
        self._protected = [column.name for column in contract.columns if column.egress != "plain"]
        self._cipher = cipher
        self._list_missing = list_missing
        self._tenant = tenant
        self._spool = open_spool(folder)
        self._close_spool = weakref.finalize(self, self._spool.close)
        self._spooled = pl.Series(dtype=pl.UInt64)
        self.count = 0

    def add_rows(self, values: pa.Table, tokens: pa.Table) -> None:
        """Seal the first row of each token that has none. values, tokens: the same rows, before and after egress."""
        import polars as pl

        first = self._find_new(pl.Series(values=tokens[self._person.name]))
        if not len(first):
            return
        rows = cast(pl.DataFrame, pl.from_arrow(values.select(self._protected).take(first.to_arrow())))
        texts = rows.select(pl.struct(pl.all().cast(pl.String)).struct.json_encode()).to_series().to_list()
        new_tokens = tokens[self._person.name].take(first.to_arrow()).to_pylist()
        sealed = self._cipher.seal_rows(self._person.domain or "", self._tenant, new_tokens, texts)
        self._spool.write(encode_rows(new_tokens, sealed))
        self.count += len(new_tokens)

    def build_rows(self, drop: str) -> PersonRows:
        """Return what the database stores of a drop; its rows are read once, and removed."""
        return PersonRows(
            drop, self._person.name, self._person.domain or "", self._tenant, self._cipher.version, self._read_blocks()
        )

    def close(self) -> None:
        """Remove the rows."""
        self._close_spool()

    def _find_new(self, tokens: pl.Series) -> pl.Series:
        """Return the positions of the first row of each token without a row, neither stored nor spooled."""
        import polars as pl

        batch = pl.DataFrame({"token": tokens}).with_row_index("position").drop_nulls()
        batch = batch.unique("token", keep="first", maintain_order=True)
        batch = batch.with_columns(pl.col("token").hash().alias("hash"))
        batch = batch.filter(~pl.col("hash").is_in(self._spooled.implode()))
        if not len(batch):
            return batch["position"]
        missing = self._list_missing(batch["token"].to_list())
        batch = batch.filter(pl.col("token").is_in(pl.Series(list(missing), dtype=pl.String).implode()))
        # Of all spooled tokens only 64 bits each are kept: a drop has millions.
        self._spooled = self._spooled.append(batch["hash"])
        return batch["position"]

    def _read_blocks(self) -> Iterator[bytes]:
        self._spool.seek(0)
        while block := self._spool.read(_BLOCK_BYTES):
            yield block
        self.close()


def find_person_column(contract: DataContract) -> ContractColumn:
    """Return the column that names the person; the contract has one."""
    return next(column for column in contract.columns if column.name == contract.person)
