"""Compare the rows of a drop with the rows of earlier drops that have the same key.

The enclave names the keys of a drop as they leave it; the caller looks them up in the lake and returns what it found as
hashes, with a seed of its own for each lookup. Each row of the drop is then new, a copy, a version, or contradictory.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, cast

from wellspring.data.contracts.contract import egress_schema
from wellspring.records.contracts import DataContract

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

KEY_HASH, SECOND_KEY_HASH, VALUES_HASH, RECORDED, DROP = "key", "key_2", "values", "recorded", "drop_id"
_SEED = b"seed"


class RowFates(NamedTuple):
    """The fate of each row of a batch. copy_of: the earlier drop, or null. contradicts: a Boolean for each row."""

    copy_of: pl.Series
    contradicts: pl.Series


class KnownRows:
    """The rows of earlier drops with a key of this drop. table: from `summarize_known_rows`."""

    def __init__(self, contract: DataContract, table: pa.Table) -> None:
        import polars as pl

        self._contract = contract
        self._seed = int((table.schema.metadata or {}).get(_SEED, b"0"))
        self._rows = cast(pl.DataFrame, pl.from_arrow(table))
        # Sorted once: a join of each batch with all known rows would take time by the number of batches and of rows.
        self._order = self._rows[KEY_HASH].arg_sort()
        self._sorted_hashes = self._rows[KEY_HASH].gather(self._order).to_numpy()

    def classify_rows(self, rows: pa.Table) -> RowFates:
        """Decide about tokenized rows of this drop: copy of an earlier row, contradiction, or neither."""
        import polars as pl

        hashed = _hash_rows(rows, self._contract, self._seed).with_row_index("index")
        joined = hashed.join(
            self._select_candidates(hashed[KEY_HASH]), on=[KEY_HASH, SECOND_KEY_HASH], how="inner", suffix="_known"
        )
        equal = joined.filter(pl.col(VALUES_HASH) == pl.col(f"{VALUES_HASH}_known"))
        first_equal = equal.group_by("index").agg(pl.col(DROP).first())
        differing = joined.join(first_equal, on="index", how="anti")
        if self._contract.ordering_column is not None:
            recorded, earlier = pl.col(RECORDED), pl.col(f"{RECORDED}_known")
            differing = differing.filter(recorded.is_null() | earlier.is_null() | (recorded == earlier))
        elif self._contract.same_key == "corrects":
            differing = differing.clear()
        copy_of = pl.repeat(None, len(hashed), dtype=pl.String, eager=True)
        contradicts = pl.repeat(False, len(hashed), dtype=pl.Boolean, eager=True)
        return RowFates(
            copy_of.scatter(first_equal["index"], first_equal[DROP].cast(pl.String)),
            contradicts.scatter(differing["index"].unique(), True),
        )

    def _select_candidates(self, key_hashes: pl.Series) -> pl.DataFrame:
        """Select the known rows whose first key hash occurs in a batch."""
        import numpy as np

        batch_hashes = key_hashes.unique().to_numpy()
        first = np.searchsorted(self._sorted_hashes, batch_hashes, "left")
        lengths = np.searchsorted(self._sorted_hashes, batch_hashes, "right") - first
        offsets = np.repeat(first - np.cumsum(lengths) + lengths, lengths)
        return self._rows[self._order.gather(offsets + np.arange(len(offsets)))]


def summarize_known_rows(contract: DataContract, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Reduce rows of the lake (the columns that leave, and `drop_id`) to hashes: about 40 bytes a row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    seed = secrets.randbits(62)
    tables: list[pa.Table] = []
    for batch in batches:
        rows = pa.Table.from_batches([batch])
        drops = rows[DROP].cast(pa.string()).dictionary_encode()
        hashed = _hash_rows(rows, contract, seed).to_arrow()
        # An addition copies: a column of the batch itself would keep the whole batch in memory.
        instants = pc.add(hashed[RECORDED], pa.scalar(0, pa.int64()))
        hashed = hashed.set_column(hashed.schema.get_field_index(RECORDED), RECORDED, instants)
        tables.append(hashed.append_column(DROP, drops))
    if not tables:
        hashes = ((name, pa.uint64()) for name in (KEY_HASH, SECOND_KEY_HASH, VALUES_HASH))
        drop_type = pa.dictionary(pa.int32(), pa.string())
        tables.append(pa.schema([*hashes, (RECORDED, pa.int64()), (DROP, drop_type)]).empty_table())
    table = pa.concat_tables(tables).unify_dictionaries()
    return table.replace_schema_metadata({_SEED: str(seed).encode()})


def _hash_rows(rows: pa.Table, contract: DataContract, seed: int) -> pl.DataFrame:
    """Hash key and values of rows as they leave the enclave. A column that older rows do not have is null in them."""
    import polars as pl
    import pyarrow as pa

    schema = egress_schema(contract)
    names = [field.name for field in schema if field.name in {column.name for column in contract.columns}]
    arrays = [
        rows[name].cast(schema.field(name).type)
        if name in rows.column_names
        else pa.nulls(rows.num_rows, schema.field(name).type)
        for name in names
    ]
    frame = cast(pl.DataFrame, pl.from_arrow(pa.table(arrays, names=names)))
    key, ordering = list(contract.key), contract.ordering_column
    no_instant = pl.repeat(None, len(frame), dtype=pl.Int64, eager=True)
    return pl.DataFrame(
        {
            KEY_HASH: frame.select(key).hash_rows(seed=seed),
            SECOND_KEY_HASH: frame.select(key).hash_rows(seed=seed + 1),
            VALUES_HASH: frame.hash_rows(seed=seed + 2),
            RECORDED: frame[ordering].cast(pl.Int64) if ordering in frame.columns else no_instant,
        }
    )


def has_comparable_key(contract: DataContract) -> bool:
    """Return whether the key of a contract leaves the enclave with distinct values for distinct keys."""
    egress = {column.name: column.egress for column in contract.columns}
    return bool(contract.key) and all(egress[name] in {"plain", "token"} for name in contract.key)
