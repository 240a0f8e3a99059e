"""Parquet -> rows as found, typed; a declared column of another type stops the file whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.data.formats.parsed import Parsed, held_against, stopped, subject_of
from wellspring.records.data import Contract
from wellspring.records.verdict import Reason

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC = b"PAR1"


def read(content: bytes, contract: Contract, *, subject: str | None = None) -> Parsed:
    """Read a whole Parquet file. subject: what the verdict of a refusal is about (default: the contract).

    Raises Refused for a file that is empty, cut off or damaged, or that lacks a declared column or its type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = subject or subject_of(contract)
    if not content:
        raise stopped(about, Reason(code="empty_file", what="it is empty", count=0))
    if not content.startswith(_MAGIC):
        raise stopped(about, Reason(code="unreadable", what="it is not a Parquet file"))
    if len(content) < 12 or not content.endswith(_MAGIC):
        raise stopped(about, Reason(code="truncated", what="it is cut off: a Parquet file ends with its own index"))
    try:
        table = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError):
        # The reader's own message may quote bytes of the file.
        raise stopped(about, Reason(code="unreadable", what="its pages or its index are damaged")) from None
    names = held_against(table.column_names, contract, about)
    if table.num_rows == 0:
        raise stopped(about, Reason(code="header_only", what="it has columns and no row", count=0))
    table = table.rename_columns(names)
    wrong = [
        Reason(code="type_changed", what=f"{column.name!r} is {table.field(column.name).type}, not {column.type}")
        for column in contract.columns
        if not _fits(table.field(column.name).type, column.type)
    ]
    if wrong:
        raise stopped(about, *wrong)
    numbers = pa.array(range(1, table.num_rows + 1), pa.int64())
    return Parsed(table.combine_chunks(), numbers, pa.nulls(table.num_rows, pa.string()))


def _fits(found: pa.DataType, declared: str) -> bool:
    """Tell whether every value of the found type has its place in the declared one."""
    import pyarrow.types as kind

    if kind.is_dictionary(found):
        return _fits(found.value_type, declared)
    match declared.partition("[")[0].partition("(")[0]:
        case "string":
            return kind.is_string(found) or kind.is_large_string(found) or kind.is_string_view(found)
        case "int64":
            return kind.is_integer(found) and not kind.is_uint64(found)
        case "float64":
            return kind.is_float32(found) or kind.is_float64(found)
        case "bool":
            return kind.is_boolean(found)
        case "date32":
            return kind.is_date32(found)
        case "timestamp":
            return kind.is_timestamp(found) and found.unit != "ns"
        case "decimal128":
            precision, scale = (int(part) for part in declared[len("decimal128(") : -1].split(","))
            fits = kind.is_decimal128(found) and found.scale <= scale
            return fits and found.precision - found.scale <= precision - scale
        case _:
            return False
