"""Split one record of a CSV file exactly, also one whose quotes break the rules (RFC 4180)."""

from __future__ import annotations

import re
from typing import NamedTuple

from wellspring.data.formats.csv.dialect import Dialect

QUOTE_FAULT = "quote"
"""The fault of a row in which text follows a closing quote."""
UNCLOSED = "unclosed"
"""The fault of a record whose quote is not closed before the end of the file. No row has it: the file is refused."""
TOO_MANY_FIELDS = "too_many_fields"
"""The fault of a header with more fields than a file may have. No row has it: the file is refused."""
_LINE_END = re.compile(rb"\r\n?|\n")
_MAX_GUESSED_BYTES = 1 << 16
"""How far the end of a row with wrong quotes is looked for."""


class CsvRecord(NamedTuple):
    """The fields of a record, and the position after its line end (UNCLOSED: the position of the quote).

    A row with QUOTE_FAULT has the fields before the wrong quote, and all text from that field on as its last one.
    """

    fields: list[bytes]
    end: int
    fault: str | None = None


def split_record(
    text: bytes, start: int, dialect: Dialect, *, is_last: bool, most_fields: int | None = None
) -> CsvRecord | None:
    """Split the record that begins at a position; None if the rest of it is not in the text.

    is_last: the text ends with the file. most_fields: a record with more has the fault TOO_MANY_FIELDS, and is not read
    to its end.
    """
    patterns, delimiter, fields, position = dialect.patterns, dialect.delimiter.encode(), list[bytes](), start
    while True:
        field_start = position
        if dialect.has_quotes and text.startswith(b'"', position):
            quoted = patterns.quoted.match(text, position)
            if quoted is None:
                return CsvRecord(fields, position, UNCLOSED) if is_last else None
            position = quoted.end()
            if position < len(text) and not text.startswith(dialect.field_ends, position):
                fault = _FaultPosition(start, field_start, position)
                return _take_faulty_record(text, fields, fault, dialect, is_last=is_last)
        else:
            unquoted = patterns.unquoted.match(text, position)
            position = position if unquoted is None else unquoted.end()
        if position == len(text) and not is_last:
            return None
        fields.append(dialect.unescape(text[field_start:position]))
        if most_fields is not None and len(fields) > most_fields:
            return CsvRecord(fields, position, TOO_MANY_FIELDS)
        if not text.startswith(delimiter, position):
            line_end = _LINE_END.match(text, position)
            return CsvRecord(fields, position if line_end is None else line_end.end())
        position += 1


class _FaultPosition(NamedTuple):
    """Where a record begins, where its field with the wrong quote begins, and where text follows a closing quote."""

    record: int
    field: int
    quote_end: int


def _take_faulty_record(
    text: bytes, fields: list[bytes], fault: _FaultPosition, dialect: Dialect, *, is_last: bool
) -> CsvRecord | None:
    """Take a record in which text follows a closing quote, up to where it probably ends.

    If a backslash stands before that quote, the record ends where it does with backslash escapes; otherwise at the end
    of the line.
    """
    end: int | None = None
    if not dialect.has_backslashes and text.startswith(b"\\", fault.quote_end - 2):
        window = text[fault.record : fault.record + _MAX_GUESSED_BYTES]
        reaches_end = len(window) < _MAX_GUESSED_BYTES
        escaped = dialect._replace(escape="backslash")
        guess = split_record(window, 0, escaped, is_last=is_last and reaches_end)
        if guess is None and reaches_end:
            return None
        if guess is not None and guess.fault is None:
            end = fault.record + guess.end
    if end is None:
        line_end = _LINE_END.search(text, fault.quote_end)
        if line_end is None and not is_last:
            return None
        end = len(text) if line_end is None else line_end.end()
    return CsvRecord([*fields, text[fault.field : end].rstrip(b"\r\n")], end, QUOTE_FAULT)
