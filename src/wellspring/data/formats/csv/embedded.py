"""Find rows that a stray quote swallowed: a quoted value with a line that is itself a row of the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wellspring.data.formats.csv.rows import CsvRows
from wellspring.data.formats.parsed import FIELDS_FAULT
from wellspring.records.contracts import ContractColumn, DataContract

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_LINE_END = re.compile(r"\r\n?|\n")
_NUMBER = r"[+-]?[0-9]*\.?[0-9]+([eE][+-]?[0-9]{1,3})?"
_SHAPES = {
    "int64": "[+-]?[0-9]{1,19}",
    "float64": _NUMBER,
    "decimal128": _NUMBER,
    "bool": "(?i:true|false|t|f|yes|no|y|n|1|0)",
    "date32": "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "timestamp": "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.*",
}
"""By type: what its values look like."""


class SwallowedRowCheck:
    """Marks the rows of a file in which a value contains rows, and counts the other values with line ends.

    names: the columns of the file. A line counts as a row if it has as many fields as the header, and each value in a
    column with a type, a pattern or a list of values fits it. Without such a column, no line counts as a row.
    """

    def __init__(self, names: Sequence[str], contract: DataContract, delimiter: str) -> None:
        checked = {column.name: column for column in contract.columns if _is_checked(column)}
        self._checked = {index: checked[name] for index, name in enumerate(names) if name in checked}
        self._width, self._delimiter = len(names), delimiter
        self.embedded_count = 0
        """The values with line ends that are values."""

    def mark_rows(self, rows: CsvRows) -> CsvRows:
        """Give the fault `fields` to each row that contains other rows."""
        import pyarrow as pa
        import pyarrow.compute as pc

        swallowing, embedded = set[int](), 0
        for column in rows.table.columns:
            if not _may_have_lines(column):
                continue
            intact = pc.if_else(pc.is_null(rows.faults), column, pa.scalar(None, pa.string()))
            has_lines = pc.match_substring_regex(intact, "[\r\n]").fill_null(False)
            row_indexes = pc.indices_nonzero(has_lines).to_pylist()
            embedded += len(row_indexes)
            if self._checked:
                swallowing |= self._find_swallowing(row_indexes, column.take(pa.array(row_indexes, pa.int64())))
        self.embedded_count += embedded - len(swallowing)
        if not swallowing:
            return rows
        faults = [FIELDS_FAULT if row in swallowing else fault for row, fault in enumerate(rows.faults.to_pylist())]
        return rows._replace(faults=pa.array(faults, pa.string()))

    def _find_swallowing(self, row_indexes: Sequence[int], values: pa.ChunkedArray) -> set[int]:
        """Return the rows whose value has a line that is a row. row_indexes: the row of each value."""
        import polars as pl

        lines = [
            (row, fields)
            for row, value in zip(row_indexes, values.to_pylist(), strict=True)
            if value.count(self._delimiter) >= self._width - 1
            for line in _LINE_END.split(value)[1:]
            if len(fields := line.split(self._delimiter)) == self._width
        ]
        if not lines:
            return set()
        fits, filled = pl.repeat(True, len(lines), eager=True), pl.repeat(False, len(lines), eager=True)
        for index, column in self._checked.items():
            fields = pl.Series([fields[index] for _, fields in lines], dtype=pl.String)
            is_empty = fields.eq("")
            fits &= _fit_column(fields, column) | (is_empty & (not column.required))
            filled |= ~is_empty
        return {lines[number][0] for number in (fits & filled).arg_true()}


def _may_have_lines(column: pa.ChunkedArray) -> bool:
    """Search the bytes of a text column for line ends: many times faster than a search of each value."""
    texts = [bytes(buffer) for chunk in column.chunks if (buffer := chunk.buffers()[2]) is not None]
    return any(b"\n" in text or b"\r" in text for text in texts)


def _is_checked(column: ContractColumn) -> bool:
    return column.type != "string" or column.pattern is not None or bool(column.enum)


def _fit_column(fields: pl.Series, column: ContractColumn) -> pl.Series:
    """Mark the texts that can be values of a column."""
    import polars as pl

    shape = _SHAPES.get(column.type.partition("[")[0].partition("(")[0], "(?s).*")
    fits = fields.str.contains(f"^(?:{shape})$")
    if column.pattern is not None:
        fits &= fields.str.contains(column.pattern)
    if column.enum:
        fits &= fields.is_in(pl.Series(list(column.enum)).implode())
    return fits
