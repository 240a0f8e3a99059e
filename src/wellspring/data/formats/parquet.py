"""Read Parquet with its types, in batches. A declared column of another type rejects the whole file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.data.formats.parsed import (
    BATCH_BYTES,
    BATCH_ROWS,
    MAX_COLUMNS,
    ParsedBatch,
    check_header,
    default_subject,
    file_refused,
)
from wellspring.data.formats.port import FileFormat, FileSample
from wellspring.errors import ProjectError, Refused
from wellspring.records.content import FileContent, SeekableContent
from wellspring.records.contracts import DataContract
from wellspring.records.verdict import Reason

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_MAGIC = b"PAR1"
MAX_ROWS, MAX_NESTING = 1_000_000_000, 32
MAX_DECODED_BYTES = 256 * 2**30
MAX_RATIO, ALWAYS_DECODED_BYTES = 1_000, 256 * 2**20
"""Decoded bytes for each byte of a file; and those that a file of any size may decode to."""
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}
"""Bytes of a decoded value; of a text at least its offset."""
_DECODED_BATCH_BYTES = 64 << 20
"""About the largest text of a batch, once the values of its dictionaries are repeated."""
_PAGE_BUFFER = 1 << 20
"""Bytes that are read ahead of each column. Without it, the reader holds the whole column of a row group."""


def read_parquet(content: FileContent, contract: DataContract, *, subject: str | None = None) -> Iterator[ParsedBatch]:
    """Yield the rows of a Parquet file. subject: the subject of the verdict of a refusal (default: the contract).

    Raises Refused for a file that is empty, truncated or damaged, or in which a declared column is missing or has
    another type.
    """
    import pyarrow as pa

    verdict_subject = subject or default_subject(contract)
    _check_ends(content, verdict_subject)
    try:
        with _open_parquet(content) as file:
            _check_budget(file.metadata, content.size, verdict_subject)
            names = check_header(file.schema_arrow.names, contract, verdict_subject)
            if file.metadata.num_rows == 0:
                raise file_refused(
                    verdict_subject, Reason(code="header_only", message="it has columns and no rows", count=0)
                )
            types = dict(zip(names, file.schema_arrow.types, strict=True))
            _check_types(types, contract, verdict_subject)
            yield from _read_batches(file, names, verdict_subject, content.size)
    except MemoryError:
        # Arrow's own is an ArrowException too; the file is not damaged.
        raise
    except (pa.ArrowException, OSError, ValueError):
        # The message of the reader may quote bytes of the file.
        raise _damaged(verdict_subject) from None


def count_parquet_rows(content: FileContent, _contract: DataContract) -> int:
    """Count the rows of a file that was rejected whole. Returns 0 if its index cannot be read."""
    import pyarrow as pa

    try:
        with _open_parquet(content) as file:
            return file.metadata.num_rows
    except (pa.ArrowException, OSError):
        return 0


def refuse_parquet_sample(file: Path) -> FileSample:
    """Raise ProjectError: a draft contract is inferred from text."""
    raise ProjectError(f"{file} is Parquet", fix="export it as CSV or JSON Lines, and infer the contract from that")


def _check_ends(content: FileContent, subject: str) -> None:
    content.seek(0)
    start = content.read(len(_MAGIC))
    if not start:
        raise file_refused(subject, Reason(code="empty_file", message="it is empty", count=0))
    if start != _MAGIC:
        raise file_refused(subject, Reason(code="unreadable", message="it is not a Parquet file"))
    content.seek(max(0, content.size - len(_MAGIC)))
    if content.size < 12 or content.read(len(_MAGIC)) != _MAGIC:
        raise file_refused(
            subject, Reason(code="truncated", message="it is truncated: the index at the end is missing")
        )


def _check_budget(metadata: pq.FileMetaData, file_bytes: int, subject: str) -> None:
    """Refuse a file whose own index says that it decodes to too much, before a page is read.

    A file may understate its sizes; the memory of the process is limited too.
    """
    decoded = sum(
        max(chunk.total_uncompressed_size, chunk.num_values * _WIDTHS.get(chunk.physical_type, 1))
        for group in range(metadata.num_row_groups)
        for chunk in map(metadata.row_group(group).column, range(metadata.num_columns))
    )
    paths = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    limits = [
        (metadata.num_rows > MAX_ROWS, f"it has {metadata.num_rows} rows, more than {MAX_ROWS}"),
        (len(paths) > MAX_COLUMNS, f"it has {len(paths)} columns, more than {MAX_COLUMNS}"),
        (any(path.count(".") > MAX_NESTING for path in paths), f"more than {MAX_NESTING} columns are nested"),
        (decoded > MAX_DECODED_BYTES, f"it decodes to {decoded} bytes, more than {MAX_DECODED_BYTES}"),
        (
            decoded > max(ALWAYS_DECODED_BYTES, MAX_RATIO * file_bytes),
            f"it decodes to {decoded} bytes, more than {MAX_RATIO} times its {file_bytes} bytes",
        ),
    ]
    reasons = [Reason(code="over_budget", message=message) for is_exceeded, message in limits if is_exceeded]
    if reasons:
        raise file_refused(subject, *reasons)


def _open_parquet(content: FileContent) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = pa.PythonFile(SeekableContent(content), mode="r")
    index = pq.ParquetFile(source, pre_buffer=False, buffer_size=_PAGE_BUFFER).metadata
    return pq.ParquetFile(
        source,
        metadata=index,
        read_dictionary=_list_dictionary_columns(index),
        page_checksum_verification=True,
        pre_buffer=False,
        buffer_size=_PAGE_BUFFER,
    )


def _list_dictionary_columns(metadata: pq.FileMetaData) -> list[str]:
    """List the columns of text that have a dictionary.

    They are decoded here: a dictionary repeats a long text at no cost to the file, and the index does not say how long
    its texts are.
    """
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return [
        metadata.schema.column(number).path
        for number in range(metadata.num_columns)
        if metadata.schema.column(number).physical_type == "BYTE_ARRAY"
        and any(group.column(number).has_dictionary_page for group in groups)
    ]


def _split_batch(batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield the rows of a batch in pieces of bounded size, with the decoded bytes of their dictionaries' texts."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            lengths = pc.fill_null(pc.binary_length(column.dictionary), 0).cast(pa.int64())
            sizes += pc.fill_null(lengths.take(column.indices), 0).to_numpy(zero_copy_only=False)
    pieces = np.cumsum(sizes) // _DECODED_BATCH_BYTES
    bounds = [0, *(np.flatnonzero(np.diff(pieces)) + 1).tolist(), batch.num_rows]
    for start, end in itertools.pairwise(bounds):
        yield batch.slice(start, end - start), int(sizes[start:end].sum())


def _decode_columns(batch: pa.RecordBatch) -> list[pa.Array]:
    import pyarrow as pa

    return [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in batch.columns]


def _read_batches(file: pq.ParquetFile, names: list[str], subject: str, file_bytes: int) -> Iterator[ParsedBatch]:
    """Yield the rows. Raises Refused if they decode to too much, ValueError if the index has another number of rows."""
    import numpy as np
    import pyarrow as pa

    row_count = decoded = 0
    for record_batch in file.iter_batches(batch_size=_choose_batch_rows(file), use_threads=False):
        record_batch.validate(full=True)
        for piece, piece_bytes in _split_batch(record_batch):
            decoded += piece_bytes
            if decoded > max(ALWAYS_DECODED_BYTES, MAX_RATIO * file_bytes):
                message = f"its texts decode to more than {MAX_RATIO} times its {file_bytes} bytes"
                raise file_refused(subject, Reason(code="over_budget", message=message))
            table = pa.Table.from_arrays(_decode_columns(piece), names=names)
            row_numbers = pa.array(np.arange(row_count + 1, row_count + table.num_rows + 1, dtype=np.int64))
            row_count += table.num_rows
            yield ParsedBatch(table, row_numbers, _find_row_faults(table))
    if row_count != file.metadata.num_rows:
        raise ValueError("the index has another number of rows")


def _find_row_faults(table: pa.Table) -> pa.Array:
    """Return the fault of each row: a text of it has a NUL character, which PostgreSQL and C programs do not take."""
    import pyarrow as pa
    import pyarrow.compute as pc

    faulty = pa.repeat(pa.scalar(False), table.num_rows)
    for column in table.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            has_nul = pc.fill_null(pc.match_substring(column, "\0"), False)
            faulty = pc.or_(faulty, has_nul.combine_chunks())
    return pc.if_else(faulty, pa.scalar("nul_character"), pa.scalar(None, pa.string()))


def _choose_batch_rows(file: pq.ParquetFile) -> int:
    """Return the rows of a batch, so that a batch of long rows is small too."""
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    row_bytes = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, row_bytes)))


def _damaged(subject: str) -> Refused:
    return file_refused(subject, Reason(code="unreadable", message="its pages or its index are damaged"))


def _check_types(types: dict[str, pa.DataType], contract: DataContract, subject: str) -> None:
    mismatches = [
        Reason(
            code="type_changed",
            message=f"{column.name!r} is {_describe_type(types[column.name])}, not {column.type}",
            column=column.name,
        )
        for column in contract.columns
        if column.name in types and not _type_fits(types[column.name], column.type)
    ]
    if mismatches:
        raise file_refused(subject, *mismatches)


def _describe_type(found_type: pa.DataType) -> str:
    """Name a type without what the file itself names: the fields of a struct, a time zone, an extension."""
    import pyarrow as pa

    if pa.types.is_nested(found_type) or isinstance(found_type, pa.BaseExtensionType):
        return "nested" if pa.types.is_nested(found_type) else "an extension type"
    if pa.types.is_dictionary(found_type):
        return _describe_type(found_type.value_type)
    return f"timestamp[{found_type.unit}]" if pa.types.is_timestamp(found_type) else str(found_type)


def _type_fits(found_type: pa.DataType, declared_type: str) -> bool:
    """Return whether the declared type can hold every value of the found type."""
    import pyarrow.types as kind

    if kind.is_null(found_type):
        return True
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
            return kind.is_timestamp(found_type)
        case "decimal128":
            precision, scale = (int(part) for part in declared_type[len("decimal128(") : -1].split(","))
            is_decimal = (
                kind.is_decimal32(found_type) or kind.is_decimal64(found_type) or kind.is_decimal128(found_type)
            )
            fits = is_decimal and found_type.scale <= scale
            return fits and found_type.precision - found_type.scale <= precision - scale
        case _:
            return False


PARQUET = FileFormat(
    read_parquet,
    count_parquet_rows,
    refuse_parquet_sample,
    suffixes=(".parquet",),
    row_faults={"nul_character": "a text of the row has a NUL character"},
)
