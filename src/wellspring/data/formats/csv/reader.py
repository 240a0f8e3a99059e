"""Read CSV (RFC 4180, UTF-8; commas, or the declared delimiter).

Every field is text, an empty field is null, and nothing is trimmed.
"""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from wellspring.data.formats.encoding import find_byte_order_mark, read_text_blocks
from wellspring.data.formats.parsed import (
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

_MAX_NARROW_COLUMNS = 3
"""In a file with at most this many columns, a sentence with commas looks like a row."""
DELIMITER_NAMES = {",": "commas", ";": "semicolons", "|": "bars", "\t": "tabs"}
"""The valid values of the setting `delimiter`."""


class _RaggedRow(NamedTuple):
    """A row with too few or too many fields. number: its row number in the file; the header is 1."""

    number: int
    field_count: int
    text: str


def read_csv(content: FileContent, contract: DataContract, *, subject: str | None = None) -> Iterator[ParsedBatch]:
    """Yield the rows of a CSV file. subject: the subject of the verdict of a refusal (default: the contract).

    A row with the wrong number of fields is kept with the fault `fields`. Raises Refused with a Verdict for a file that
    cannot be read safely; `parsed.py` and docs/bad-input.md list the reason codes.
    """
    rows = _read_rows(content, contract, subject or default_subject(contract))
    yield from attach_findings(split_batch(rows), rows.findings)


def _read_rows(content: FileContent, contract: DataContract, verdict_subject: str) -> ParsedBatch:
    delimiter = _delimiter(contract)
    text, findings = _check_text(content, verdict_subject)
    header = _read_header(text, contract, delimiter, verdict_subject)
    names = check_header(header, contract, verdict_subject)
    table, ragged_rows = _parse_rows(text, len(names), delimiter, verdict_subject)
    received = table.num_rows + len(ragged_rows)
    if received == 0:
        raise file_refused(verdict_subject, Reason(code="header_only", message="it has a header and no rows", count=0))
    has_line_end = text.endswith((b"\n", b"\r"))
    if (
        ragged_rows
        and ragged_rows[-1].number == received + 1
        and (ragged_rows[-1].field_count < len(names) or not has_line_end)
    ):
        raise file_refused(
            verdict_subject, Reason(code="truncated", message="its last line is cut off", count=received)
        )
    if len(ragged_rows) * 2 > received:
        message = f"{len(ragged_rows)} of {received} rows do not have the header's {len(names)} fields"
        raise file_refused(verdict_subject, Reason(code="ragged", message=message, count=len(ragged_rows)))
    if not has_line_end:
        message = "the last line has no line end: its last field may be cut off"
        findings = (*findings, Reason(code="no_final_newline", message=message, count=1))
    # More line ends than rows: some are inside quotes.
    lines_within = text.count(b"\n") > received + 1
    embedded = _embedded_rows(table, delimiter) if lines_within and len(names) > _MAX_NARROW_COLUMNS else None
    return _merge_ragged(table.rename_columns(names), ragged_rows, embedded, received, findings, delimiter)


def count_csv_rows(content: FileContent, contract: DataContract) -> int:
    """Count the rows of a file that was rejected whole. Returns 0 if they cannot be counted."""
    try:
        text = io.StringIO(b"".join(read_text_blocks(content, "count")).decode("utf-8"), newline="")
        reader = csv.reader(text, delimiter=_delimiter(contract), strict=True)
        return max(0, sum(1 for row in reader if row) - 1)
    except (UnicodeDecodeError, csv.Error, Refused):
        return 0


def _delimiter(contract: DataContract) -> str:
    return contract.format_settings.get("delimiter", ",")


def _check_text(file_content: FileContent, subject: str) -> tuple[bytes, tuple[Reason, ...]]:
    """Check that the bytes are UTF-8 text. Returns them without a byte order mark, and the findings."""
    findings = find_byte_order_mark(file_content)
    content = b"".join(read_text_blocks(file_content, subject))
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise file_refused(subject, Reason(code="not_utf8", message=f"line {line} is not UTF-8")) from None
    if content.count(b'"') % 2:
        message = "a quote is opened and not closed"
        code = "unbalanced_quote" if content.endswith((b"\n", b"\r")) else "truncated"
        raise file_refused(subject, Reason(code=code, message=message))
    return content, findings


def _read_header(text: bytes, contract: DataContract, delimiter: str, subject: str) -> list[str]:
    # A quoted name may contain a line end, so one line is not enough; 1 MiB is enough for any header.
    start = io.StringIO(text[: 1 << 20].decode("utf-8", errors="replace"), newline="")
    try:
        header = next(record for record in csv.reader(start, delimiter=delimiter, strict=True) if record)
    except (csv.Error, StopIteration):
        raise file_refused(subject, Reason(code="unreadable", message="its header cannot be read")) from None
    if len(header) == 1 and len(contract.columns) > 1:
        actual = next((name for mark, name in DELIMITER_NAMES.items() if mark != delimiter and mark in header[0]), None)
        if actual is not None:
            message = f"its columns are separated by {actual}, not by {DELIMITER_NAMES[delimiter]}"
            raise file_refused(subject, Reason(code="wrong_delimiter", message=message))
    return header


def _parse_rows(text: bytes, width: int, delimiter: str, subject: str) -> tuple[pa.Table, list[_RaggedRow]]:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    ragged_rows: list[_RaggedRow] = []

    def collect_ragged(row: arrow_csv.InvalidRow) -> str:
        ragged_rows.append(_RaggedRow(row.number, row.actual_columns, row.text))
        return "skip"

    # One block as long as the file, because a row may have any length.
    block_size = min(len(text) + 1, 1 << 30)
    names = [str(index) for index in range(width)]
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(text),
            # The reader knows the numbers of skipped rows only with one thread.
            read_options=arrow_csv.ReadOptions(use_threads=False, column_names=names, block_size=block_size),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter,
                newlines_in_values=True,
                ignore_empty_lines=True,
                invalid_row_handler=collect_ragged,
            ),
            convert_options=arrow_csv.ConvertOptions(
                check_utf8=False,  # `_check_text` did it
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid:
        # The message of the reader quotes the row.
        raise file_refused(subject, Reason(code="unreadable", message="it cannot be read as CSV")) from None
    return table.slice(1), ragged_rows


def _embedded_rows(table: pa.Table, delimiter: str) -> pa.ChunkedArray:
    """Mark the rows with a field that contains what looks like another row, after a quote that closes lines later."""
    import pyarrow.compute as pc

    mark = re.escape(delimiter)
    row_pattern = rf"[\r\n](?:[^{mark}\r\n]*{mark}){{{min(table.num_columns - 1, 1000)}}}"
    column_matches = [pc.match_substring_regex(column.fill_null(""), row_pattern) for column in table.columns]
    return functools.reduce(pc.or_, column_matches)


def _merge_ragged(
    table: pa.Table,
    ragged_rows: list[_RaggedRow],
    embedded: pa.ChunkedArray | None,
    received: int,
    findings: tuple[Reason, ...],
    delimiter: str,
) -> ParsedBatch:
    """Mark rows that contain other rows, and insert the ragged rows, fitted to the header, in file order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    intact_faults = pa.nulls(table.num_rows, pa.string())
    if embedded is not None:
        intact_faults = pc.if_else(embedded.combine_chunks(), pa.scalar(FIELDS_FAULT), intact_faults)
    if not ragged_rows:
        return ParsedBatch(table, pa.array(range(1, received + 1), pa.int64()), intact_faults, findings)
    ragged_numbers = {row.number - 1 for row in ragged_rows}
    intact_numbers = [number for number in range(1, received + 1) if number not in ragged_numbers]
    width = table.num_columns
    filled = [_split_fields(row.text, width, delimiter) for row in ragged_rows]
    ragged_table = pa.table(
        [pa.array(column, pa.string()) for column in zip(*filled, strict=True)], names=table.column_names
    )
    row_numbers = pa.array([*intact_numbers, *(row.number - 1 for row in ragged_rows)], pa.int64())
    faults = pa.concat_arrays([intact_faults, pa.array([FIELDS_FAULT] * len(ragged_rows), pa.string())])
    order = pc.sort_indices(row_numbers)
    return ParsedBatch(
        pa.concat_tables([table, ragged_table]).take(order), row_numbers.take(order), faults.take(order), findings
    )


def _split_fields(text: str, width: int, delimiter: str) -> list[str | None]:
    """Split a ragged row. The last column keeps all surplus fields, so that quarantine has the whole row."""
    try:
        fields = next(csv.reader([text.rstrip("\r\n")], delimiter=delimiter), [])
    except csv.Error:
        fields = [text]
    if len(fields) > width:
        fields = [*fields[: width - 1], delimiter.join(fields[width - 1 :])]
    return [field or None for field in fields] + [None] * (width - len(fields))
