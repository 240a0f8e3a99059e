"""Find the rows of one file that have a key in common: copies, and rows that contradict each other.

The file is read once to hash the keys (8 bytes a row), and a second time only if a hash occurs twice, to compare the
rows behind it. Of equal rows the first counts; the others are copies. Rows with one key and different values are
versions if `recorded_at` orders them; otherwise nothing says which one is right, and all of them wait. The same holds
for two rows with one value of a unique column. A row with a value that has no declared type is never a copy: what it
holds is not known.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.data.contracts.columns import prefix_length
from wellspring.records.contracts import ContractColumn, DataContract

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

ROW, FIRST_HASH, SECOND_HASH, VALUES_HASH, RECORDED = "row", "first", "second", "values", "recorded"


class TypedRows(NamedTuple):
    """Rows with typed values. frame: the declared columns. row_numbers: int64. usable: rows that could be read.

    has_misfit: rows with a value that does not have the type of its column, and is null in the frame.
    """

    frame: pl.DataFrame
    row_numbers: pl.Series
    usable: pl.Series
    has_misfit: pl.Series


class RepeatedRows(NamedTuple):
    """Row numbers, ascending. copies: rows that equal an earlier row. contradictions: by key, the rows that wait."""

    copies: np.ndarray[Any, Any]
    contradictions: dict[tuple[str, ...], np.ndarray[Any, Any]]


def list_keys(contract: DataContract) -> list[tuple[str, ...]]:
    """List the primary key of a contract, then its unique columns."""
    unique = [(column.name,) for column in contract.columns if column.unique and (column.name,) != contract.key]
    return [contract.key, *unique] if contract.key else unique


def find_repeated_rows(
    contract: DataContract, read_rows: Callable[[Sequence[str]], Iterable[TypedRows]]
) -> RepeatedRows:
    """Find the rows of a file with a common key. A row with a null in the key is not compared.

    read_rows: reads the file from its start, with the named columns typed; it is called once or twice.
    """
    import numpy as np

    keys = list_keys(contract)
    nothing = RepeatedRows(np.empty(0, np.int64), {})
    if not keys:
        return nothing
    seed = secrets.randbits(62)
    repeated = _repeated_hashes(keys, read_rows(sorted({name for key in keys for name in key})), seed)
    if not any(len(hashes) for hashes in repeated.values()):
        return nothing
    compared = [column for column in contract.columns if column.egress != "never"]
    columns = sorted({*(column.name for column in compared), *(name for key in keys for name in key)})
    candidates: dict[tuple[str, ...], list[pl.DataFrame]] = {key: [] for key in keys}
    for rows in read_rows(columns):
        for key in keys:
            candidates[key].append(_select_candidates(rows, key, compared, repeated[key], contract, seed))
    copies: set[int] = set()
    contradictions: dict[tuple[str, ...], np.ndarray[Any, Any]] = {}
    for key in keys:
        copied, waiting = _resolve_candidates(candidates[key], is_key=key == contract.key, copies=copies)
        copies |= copied
        if waiting:
            contradictions[key] = np.array(sorted(waiting), np.int64)
    return RepeatedRows(np.array(sorted(copies), np.int64), contradictions)


def _repeated_hashes(
    keys: list[tuple[str, ...]], batches: Iterable[TypedRows], seed: int
) -> dict[tuple[str, ...], np.ndarray[Any, Any]]:
    import numpy as np

    collected: dict[tuple[str, ...], list[np.ndarray[Any, Any]]] = {key: [] for key in keys}
    for rows in batches:
        for key in keys:
            collected[key].append(_complete_rows(rows, key).select(key).hash_rows(seed=seed).to_numpy())
    repeated: dict[tuple[str, ...], np.ndarray[Any, Any]] = {}
    for key, parts in collected.items():
        hashes = np.concatenate(parts) if parts else np.empty(0, np.uint64)
        hashes.sort()
        repeated[key] = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    return repeated


def _complete_rows(rows: TypedRows, key: Sequence[str]) -> pl.DataFrame:
    """Return the usable rows whose key has no null, with their row numbers."""
    import polars as pl

    frame = rows.frame.with_columns(rows.row_numbers.alias("__row"), rows.has_misfit.alias("__misfit"))
    return frame.filter(rows.usable & frame.select(pl.all_horizontal(pl.col(list(key)).is_not_null())).to_series())


def _select_candidates(
    rows: TypedRows,
    key: tuple[str, ...],
    compared: list[ContractColumn],
    hashes: np.ndarray[Any, Any],
    contract: DataContract,
    seed: int,
) -> pl.DataFrame:
    """Select the rows whose key hash occurs twice in the file, as hashes of their key and of their values."""
    import polars as pl

    complete = _complete_rows(rows, key)
    first = complete.select(key).hash_rows(seed=seed)
    selected = complete.filter(first.is_in(pl.Series(hashes, dtype=pl.UInt64).implode()))
    ordering = contract.ordering_column
    primary = [name for name in contract.key if name in selected.columns]
    no_instant = pl.repeat(None, len(selected), dtype=pl.Int64, eager=True)
    row_ids = selected["__row"].cast(pl.UInt64)
    values = selected.select(map(_leaving_value, compared)).hash_rows(seed=seed + 2)
    return pl.DataFrame(
        {
            ROW: selected["__row"],
            FIRST_HASH: selected.select(key).hash_rows(seed=seed),
            SECOND_HASH: selected.select(key).hash_rows(seed=seed + 1),
            # The null in place of a misfit equals no other value.
            VALUES_HASH: row_ids.hash(seed=seed + 4).zip_with(selected["__misfit"], values),
            "primary": selected.select(primary).hash_rows(seed=seed + 3) if primary else row_ids,
            RECORDED: selected[ordering].cast(pl.Int64) if ordering in selected.columns else no_instant,
        }
    )


def _leaving_value(column: ContractColumn) -> pl.Expr:
    """Return the value that leaves of a year or a prefix; of masked texts, the text itself is compared."""
    import polars as pl

    value = pl.col(column.name)
    if column.egress == "year":
        return value.dt.year()
    length = prefix_length(column.egress)
    return value if length is None else value.str.slice(0, length)


def _resolve_candidates(parts: list[pl.DataFrame], *, is_key: bool, copies: set[int]) -> tuple[set[int], set[int]]:
    """Return the copies and the contradictory rows of one key. copies: rows that are copies by another key."""
    import polars as pl

    frame = pl.concat(parts).sort(ROW)
    frame = frame.filter(~pl.col(ROW).is_in(pl.Series(sorted(copies), dtype=pl.Int64).implode())) if copies else frame
    group = [FIRST_HASH, SECOND_HASH]
    marked = frame.with_columns(copy=~pl.struct([*group, VALUES_HASH]).is_first_distinct())
    copied = set(marked.filter(pl.col("copy"))[ROW].to_list())
    rest = marked.filter(~pl.col("copy"))
    grouped = rest.group_by(group).agg(
        pl.len().alias("count"),
        pl.col(RECORDED).n_unique().alias("recorded_count"),
        pl.col(RECORDED).null_count().alias("recorded_nulls"),
        pl.col("primary").n_unique().alias("primaries"),
    )
    ordered = (pl.col("recorded_count") == pl.col("count")) & (pl.col("recorded_nulls") == 0)
    # Versions of one row may share the value of a unique column.
    conflicting = (pl.col("count") > 1) & (~ordered if is_key else pl.col("primaries") > 1)
    waiting = rest.join(grouped.filter(conflicting), on=group, how="semi")
    return copied, set(waiting[ROW].to_list())
