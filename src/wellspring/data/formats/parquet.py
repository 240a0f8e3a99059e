"""Read Parquet with its types. A declared column of another type rejects the whole file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.data.formats.parsed import ParsedFile, check_header, default_subject, file_refused
from wellspring.data.formats.port import FileFormat, FileSample
from wellspring.errors import ProjectError
from wellspring.records.contracts import DataContract
from wellspring.records.verdict import Reason

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC = b"PAR1"


def read_parquet(content: bytes, contract: DataContract, *, subject: str | None = None) -> ParsedFile:
    """Read a whole Parquet file. subject: the subject of the verdict of a refusal (default: the contract).

    Raises Refused for a file that is empty, truncated or damaged, or in which a declared column is missing or has
    another type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    verdict_subject = subject or default_subject(contract)
    if not content:
        raise file_refused(verdict_subject, Reason(code="empty_file", message="it is empty", count=0))
    if not content.startswith(_MAGIC):
        raise file_refused(verdict_subject, Reason(code="unreadable", message="it is not a Parquet file"))
    if len(content) < 12 or not content.endswith(_MAGIC):
        raise file_refused(
            verdict_subject, Reason(code="truncated", message="it is truncated: the index at the end is missing")
        )
    try:
        table = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError):
        # The message of the reader may quote bytes of the file.
        raise file_refused(
            verdict_subject, Reason(code="unreadable", message="its pages or its index are damaged")
        ) from None
    names = check_header(table.column_names, contract, verdict_subject)
    if table.num_rows == 0:
        raise file_refused(verdict_subject, Reason(code="header_only", message="it has columns and no rows", count=0))
    table = table.rename_columns(names)
    mismatches = [
        Reason(code="type_changed", message=f"{column.name!r} is {table.field(column.name).type}, not {column.type}")
        for column in contract.columns
        if not _type_fits(table.field(column.name).type, column.type)
    ]
    if mismatches:
        raise file_refused(verdict_subject, *mismatches)
    row_numbers = pa.array(range(1, table.num_rows + 1), pa.int64())
    return ParsedFile(table.combine_chunks(), row_numbers, pa.nulls(table.num_rows, pa.string()))


def count_parquet_rows(content: bytes, _contract: DataContract) -> int:
    """Count the rows of a file that was rejected whole. Returns 0 if its index cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(pa.BufferReader(content)).num_rows)
    except (pa.ArrowException, OSError):
        return 0


def refuse_parquet_sample(file: Path) -> FileSample:
    """Raise ProjectError: a draft contract is inferred from text."""
    raise ProjectError(f"{file} is Parquet", fix="export it as CSV or JSON Lines, and infer the contract from that")


def _type_fits(found_type: pa.DataType, declared_type: str) -> bool:
    """Return whether the declared type can hold every value of the found type."""
    import pyarrow.types as kind

    if kind.is_dictionary(found_type):
        return _type_fits(found_type.value_type, declared_type)
    match declared_type.partition("[")[0].partition("(")[0]:
        case "string":
            return kind.is_string(found_type) or kind.is_large_string(found_type) or kind.is_string_view(found_type)
        case "int64":
            return kind.is_integer(found_type) and not kind.is_uint64(found_type)
        case "float64":
            return kind.is_float32(found_type) or kind.is_float64(found_type)
        case "bool":
            return kind.is_boolean(found_type)
        case "date32":
            return kind.is_date32(found_type)
        case "timestamp":
            return kind.is_timestamp(found_type) and found_type.unit != "ns"
        case "decimal128":
            precision, scale = (int(part) for part in declared_type[len("decimal128(") : -1].split(","))
            fits = kind.is_decimal128(found_type) and found_type.scale <= scale
            return fits and found_type.precision - found_type.scale <= precision - scale
        case _:
            return False


PARQUET = FileFormat(read_parquet, count_parquet_rows, refuse_parquet_sample, suffixes=(".parquet",))
