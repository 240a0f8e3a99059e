"""Give the rows of a batch the types of their contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from wellspring.data.contracts import casting
from wellspring.data.contracts.casting import CastColumn
from wellspring.data.formats.parsed import ROW_NUMBER, ParsedBatch
from wellspring.data.intake.duplicates import TypedRows
from wellspring.records.contracts import ContractColumn, DataContract

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


class TypedBatch(NamedTuple):
    """A batch with typed columns. usable: the rows that could be read; the others have a fault and no values.

    casts: by column name; a value that does not fit is null in it.
    """

    columns: tuple[ContractColumn, ...]
    casts: dict[str, CastColumn]
    row_numbers: pl.Series
    row_faults: pl.Series
    usable: pl.Series

    def to_rows(self) -> TypedRows:
        """Return the rows for the comparison of keys."""
        import polars as pl

        frame = pl.DataFrame({name: cast.values for name, cast in self.casts.items()})
        has_misfit = ~self.usable
        for cast in self.casts.values():
            has_misfit = has_misfit | cast.invalid
        return TypedRows(frame, self.row_numbers, self.usable, has_misfit)

    def to_arrow(self) -> pa.Table:
        """Return the declared columns with their Arrow types, and row_number."""
        import pyarrow as pa

        schema = pa.schema([(column.name, casting.arrow_type(column.type)) for column in self.columns])
        arrays = [
            self.casts[column.name].values.to_arrow().cast(schema.field(column.name).type) for column in self.columns
        ]
        table = pa.table(arrays, schema=schema)
        return table.append_column(ROW_NUMBER, self.row_numbers.to_arrow())


def type_batch(batch: ParsedBatch, contract: DataContract, names: Sequence[str] | None = None) -> TypedBatch:
    """Cast the declared columns of a batch. names: the columns to cast (default: all)."""
    import polars as pl

    row_faults = pl.Series(values=batch.row_faults, dtype=pl.String)
    type_faults = None if batch.type_faults is None else pl.Series(values=batch.type_faults, dtype=pl.String)
    faulty_columns = None if type_faults is None else type_faults.str.split(",")
    columns = tuple(column for column in contract.columns if names is None or column.name in names)
    return TypedBatch(
        columns,
        {column.name: _cast_column(batch, column, faulty_columns) for column in columns},
        pl.Series(values=batch.row_numbers),
        row_faults,
        row_faults.is_null(),
    )


def _select_values(batch: ParsedBatch, column: ContractColumn) -> pa.ChunkedArray:
    """Return the values of a column; a file of an earlier layout has none."""
    import pyarrow as pa

    if column.name in batch.column_names:
        return batch.table[column.name]
    return pa.chunked_array([pa.nulls(batch.row_count, pa.string())])


def _cast_column(batch: ParsedBatch, column: ContractColumn, faulty_columns: pl.Series | None) -> CastColumn:
    """Cast one column, and mark the values that do not fit, also those that the format gave another type."""
    cast = casting.cast_column(
        _select_values(batch, column),
        column.type,
        steps=column.normalization,
        timezone=column.timezone,
        zone_required=column.zone_required,
    )
    if faulty_columns is None:
        return cast
    mismatched = faulty_columns.list.contains(column.name).fill_null(False)
    return cast._replace(values=cast.values.set(mismatched, None), faults=(*cast.faults, ("type", mismatched)))
