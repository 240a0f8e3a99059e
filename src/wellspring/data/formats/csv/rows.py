"""Build rows of text from the records of a CSV file. A row with a fault is kept, fitted to the header."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from wellspring.data.formats.csv.dialect import Dialect
from wellspring.data.formats.csv.records import CsvRecord, split_record
from wellspring.data.formats.parsed import FIELDS_FAULT

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv


HEADER_FAULT = "repeated_header"
"""Fault of a row that is the header again, as where two files were joined."""


class CsvRows(NamedTuple):
    """Successive rows. table: text columns named by number; an empty field is null. faults: of each row, or null.

    last_field_count: the number of fields of the last row, if it is not that of the header.
    """

    table: pa.Table
    faults: pa.Array
    last_field_count: int | None

    @property
    def count(self) -> int:
        return self.table.num_rows


def build_rows(records: Sequence[CsvRecord], width: int, delimiter: str) -> CsvRows:
    """Build rows from records that were split."""
    import pyarrow as pa

    fitted = [fit_fields(record.fields, width, delimiter) for record in records]
    faults = [record.fault or (None if len(record.fields) == width else FIELDS_FAULT) for record in records]
    columns = [pa.array(column, pa.binary()).cast(pa.string()) for column in zip(*fitted, strict=True)]
    table = pa.table(columns, names=_number_columns(width))
    last_field_count = len(records[-1].fields) if faults[-1] == FIELDS_FAULT else None
    return CsvRows(table, pa.array(faults, pa.string()), last_field_count)


def parse_regular(text: bytes, width: int, dialect: Dialect) -> CsvRows | None:
    """Read whole regular records by pyarrow. Returns None if it cannot read them."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    ragged: dict[int, CsvRecord] = {}

    def collect_ragged(row: arrow_csv.InvalidRow) -> str:
        record = split_record(row.text.encode(), 0, dialect, is_last=True)
        ragged[row.number - 1] = record or CsvRecord([row.text.encode()], 0)
        return "skip"

    names = _number_columns(width)
    if not text.strip(b"\r\n"):
        return CsvRows(pa.table([pa.array([], pa.string())] * width, names=names), pa.array([], pa.string()), None)
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(text),
            # The reader knows the numbers of skipped rows only with one thread. One block has whole records, so that a
            # line end in quotes needs no option.
            read_options=arrow_csv.ReadOptions(use_threads=False, column_names=names, block_size=len(text) + 1),
            parse_options=arrow_csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char='"' if dialect.has_quotes else False,
                double_quote=not dialect.has_backslashes,
                escape_char="\\" if dialect.has_backslashes else False,
                ignore_empty_lines=True,
                invalid_row_handler=collect_ragged,
            ),
            convert_options=arrow_csv.ConvertOptions(
                check_utf8=False,  # `CsvStream` did it
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid:
        # The message of the reader quotes the row.
        return None
    return _insert_ragged(table, ragged, width, dialect.delimiter)


def fit_fields(fields: Sequence[bytes], width: int, delimiter: str) -> list[bytes | None]:
    """Fit the fields of a row to the header. The last column keeps all surplus fields, so that quarantine has them."""
    if len(fields) > width:
        fields = [*fields[: width - 1], delimiter.encode().join(fields[width - 1 :])]
    return [field or None for field in fields] + [None] * (width - len(fields))


def mark_repeated_headers(rows: CsvRows, header: Sequence[str]) -> CsvRows:
    """Give each row that equals the header the fault `repeated_header`; a byte order mark before it does not count."""
    import pyarrow as pa
    import pyarrow.compute as pc

    candidates = pc.indices_nonzero(pc.equal(rows.table.columns[-1], pa.scalar(header[-1], pa.string()))).to_pylist()
    repeated: list[int] = []
    for number in candidates:
        first, *further_values = (column[number].as_py() or "" for column in rows.table.columns)
        if [first.removeprefix("\ufeff"), *further_values] == list(header):
            repeated.append(number)
    if not repeated:
        return rows
    is_repeated = pc.is_in(pa.array(range(rows.count), pa.int64()), pa.array(repeated, pa.int64()))
    return rows._replace(faults=pc.if_else(is_repeated, HEADER_FAULT, rows.faults))


def _insert_ragged(table: pa.Table, ragged: dict[int, CsvRecord], width: int, delimiter: str) -> CsvRows:
    """Insert the rows of another width in file order. ragged: by the number of the row, from 0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = table.combine_chunks()
    faults = pa.nulls(table.num_rows, pa.string())
    if not ragged:
        return CsvRows(table, faults, None)
    ragged_rows = build_rows(list(ragged.values()), width, delimiter)
    count = table.num_rows + len(ragged)
    intact_numbers = [number for number in range(count) if number not in ragged]
    order = pc.sort_indices(pa.array([*intact_numbers, *ragged], pa.int64()))
    last = ragged.get(count - 1)
    return CsvRows(
        pa.concat_tables([table, ragged_rows.table]).take(order).combine_chunks(),
        pa.concat_arrays([faults, pa.array([FIELDS_FAULT] * len(ragged), pa.string())]).take(order),
        len(last.fields) if last is not None else None,
    )


def _number_columns(width: int) -> list[str]:
    return [str(index) for index in range(width)]
