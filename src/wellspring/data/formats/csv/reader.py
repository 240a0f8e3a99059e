"""Read CSV (RFC 4180, UTF-8; commas, or the declared dialect) as a stream of batches.

Every field is text, an empty field is null, and nothing is trimmed. A quote opens a quoted field only at the start of
a field; within another field it is a character.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from wellspring.data.formats.csv.dialect import DELIMITER_NAMES, read_dialect
from wellspring.data.formats.csv.embedded import SwallowedRowCheck
from wellspring.data.formats.csv.records import QUOTE_FAULT
from wellspring.data.formats.csv.rows import CsvRows, mark_repeated_headers
from wellspring.data.formats.csv.stream import CsvStream
from wellspring.data.formats.encoding import ends_with_line_end, find_byte_order_mark, read_text_blocks
from wellspring.data.formats.parsed import (
    BATCH_ROWS,
    FIELDS_FAULT,
    ParsedBatch,
    attach_findings,
    check_header,
    default_subject,
    file_refused,
    split_batch,
)
from wellspring.errors import Refused
from wellspring.records.content import FileContent
from wellspring.records.contracts import DataContract
from wellspring.records.verdict import Reason

if TYPE_CHECKING:
    import pyarrow as pa


_JOINED_BYTES = 8 << 20


def read_csv(content: FileContent, contract: DataContract, *, subject: str | None = None) -> Iterator[ParsedBatch]:
    """Yield the rows of a CSV file. subject: the subject of the verdict of a refusal (default: the contract).

    A row with the wrong number of fields has the fault `fields`, a row with text after a closing quote has the fault
    `quote`. Raises Refused with a Verdict for a file that cannot be read safely; `parsed.py` and docs/bad-input.md list
    the reason codes.
    """
    findings = list(find_byte_order_mark(content))
    yield from attach_findings(
        _read_batches(content, contract, subject or default_subject(contract), findings), findings
    )


def count_csv_rows(content: FileContent, contract: DataContract) -> int:
    """Count the rows of a file that was rejected whole. Returns 0 if they cannot be counted."""
    try:
        stream = CsvStream(read_text_blocks(content, "count"), read_dialect(contract), "count")
        header = stream.read_header()
        return sum(rows.count for rows in stream.read_rows(len(header))) if header else 0
    except Refused:
        return 0


def _read_batches(
    content: FileContent, contract: DataContract, subject: str, findings: list[Reason]
) -> Iterator[ParsedBatch]:
    """Yield the rows. findings: gets those that are known at the end."""
    dialect = read_dialect(contract)
    stream = CsvStream(read_text_blocks(content, subject), dialect, subject)
    header = stream.read_header()
    if not header:
        raise file_refused(subject, Reason(code="unreadable", message="its header cannot be read"))
    _check_delimiter(header, contract, dialect.delimiter, subject)
    names = check_header(header, contract, subject)
    check = SwallowedRowCheck(names, contract, dialect.delimiter)
    received, fault_counts, last_field_count = 0, Counter[str](), None
    for rows in _join_rows(stream.read_rows(len(names))):
        # A row that contains other rows counts as one row, not as a ragged one.
        fault_counts.update(fault for fault in rows.faults.drop_null().to_pylist())
        last_field_count = rows.last_field_count
        marked = mark_repeated_headers(check.mark_rows(rows), header)
        row_numbers = _number_rows(received, marked.count)
        received += marked.count
        yield from split_batch(ParsedBatch(marked.table.rename_columns(names), row_numbers, marked.faults))
    if received == 0:
        raise file_refused(subject, Reason(code="header_only", message="it has a header and no rows", count=0))
    has_line_end = ends_with_line_end(content)
    if last_field_count is not None and (last_field_count < len(names) or not has_line_end):
        raise file_refused(subject, Reason(code="truncated", message="its last line is cut off", count=received))
    _check_faults(received, fault_counts, len(names), subject)
    if not has_line_end:
        message = "the last line has no line end: its last field may be cut off"
        findings.append(Reason(code="no_final_newline", message=message, count=1))
    if check.embedded_count:
        message = f"{check.embedded_count} quoted values contain line ends, which are part of the value"
        findings.append(Reason(code="embedded_lines", message=message, count=check.embedded_count))


def _check_delimiter(header: list[str], contract: DataContract, delimiter: str, subject: str) -> None:
    if len(header) > 1 or len(contract.columns) < 2:
        return
    actual = next((name for mark, name in DELIMITER_NAMES.items() if mark != delimiter and mark in header[0]), None)
    if actual is not None:
        message = f"its columns are separated by {actual}, not by {DELIMITER_NAMES[delimiter]}"
        raise file_refused(subject, Reason(code="wrong_delimiter", message=message))


def _check_faults(received: int, fault_counts: Counter[str], width: int, subject: str) -> None:
    """Raise Refused if most rows have a fault."""
    if fault_counts.total() * 2 <= received:
        return
    if fault_counts[QUOTE_FAULT] > fault_counts[FIELDS_FAULT]:
        count = fault_counts[QUOTE_FAULT]
        message = f"in {count} of {received} rows, text follows a closing quote"
        raise file_refused(subject, Reason(code="quote", message=message, count=count))
    count = fault_counts.total()
    message = f"{count} of {received} rows do not have the header's {width} fields"
    raise file_refused(subject, Reason(code="ragged", message=message, count=count))


def _join_rows(parts: Iterable[CsvRows]) -> Iterator[CsvRows]:
    """Join small parts, so that a file in which the readers alternate has batches of the usual size."""
    import pyarrow as pa

    def join() -> CsvRows:
        if len(pending) == 1:
            return pending[0]
        table = pa.concat_tables([rows.table for rows in pending]).combine_chunks()
        return CsvRows(table, pa.concat_arrays([rows.faults for rows in pending]), pending[-1].last_field_count)

    pending, count, size = list[CsvRows](), 0, 0
    for rows in parts:
        pending.append(rows)
        count, size = count + rows.count, size + rows.table.nbytes
        if count >= BATCH_ROWS or size >= _JOINED_BYTES:
            yield join()
            pending, count, size = [], 0, 0
    if pending:
        yield join()


def _number_rows(start: int, count: int) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    return pa.array(np.arange(start + 1, start + count + 1, dtype=np.int64))
