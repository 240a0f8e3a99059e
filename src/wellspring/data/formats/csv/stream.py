"""Cut the blocks of a CSV file into records: most of them by a fast reader, the others exactly.

Text in which each closing quote ends its field is read by pyarrow. A record with another quote, or with a backslash
that escapes nothing, is split by `records.split_record`. Both give the same
rows (`tests/data/formats/csv/test_stream.py`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NoReturn

from wellspring.data.formats.csv.dialect import Dialect
from wellspring.data.formats.csv.records import TOO_MANY_FIELDS, UNCLOSED, CsvRecord, split_record
from wellspring.data.formats.csv.rows import CsvRows, build_rows, parse_regular
from wellspring.data.formats.parsed import MAX_COLUMNS, file_refused
from wellspring.records.verdict import Reason

MAX_RECORD_BYTES = 16 << 20
_MAX_EXACT_RECORDS = 1 << 14
_REGULAR_RUN = 256
"""After so many regular records in a row, the fast reader is tried again."""


class CsvStream:
    """The records of a file, in order. blocks: the text (`encoding.read_text_blocks`)."""

    def __init__(self, blocks: Iterator[bytes], dialect: Dialect, subject: str) -> None:
        self._blocks, self._dialect, self._subject = blocks, dialect, subject
        self._text, self._position, self._is_last = b"", 0, False
        self._lines_before = 0
        """The line ends before the text in memory."""

    def read_header(self) -> list[str] | None:
        """Read the first record that is not blank. Returns None if it cannot be read.

        Raises Refused for more than MAX_COLUMNS fields, after as many of them.
        """
        while True:
            record = split_record(
                self._text, self._position, self._dialect, is_last=self._is_last, most_fields=MAX_COLUMNS
            )
            if record is None:
                self._read_block()
            elif record.fault == TOO_MANY_FIELDS:
                message = f"it has more than {MAX_COLUMNS} columns"
                raise file_refused(self._subject, Reason(code="over_budget", message=message))
            elif record.fault is not None:
                return None
            else:
                start, self._position = self._position, record.end
                if self._text[start : record.end].strip():
                    self._check_utf8(start, record.end)
                    return [field.decode("utf-8") for field in record.fields]
                if self._is_last and record.end == len(self._text):
                    return None

    def read_rows(self, width: int) -> Iterator[CsvRows]:
        """Yield the rows, each with its fault. width: the number of fields of the header."""
        while True:
            end = self._find_regular_end()
            if end > self._position:
                self._check_utf8(self._position, end)
                text, self._position = self._text[self._position : end], end
                rows = parse_regular(text, width, self._dialect)
                if rows is None:
                    raise file_refused(self._subject, Reason(code="unreadable", message="it cannot be read as CSV"))
                if rows.count:
                    yield rows
            if records := self._read_exact(width):
                yield build_rows(records, width, self._dialect.delimiter)
            elif self._position == len(self._text) and self._is_last:
                return
            else:
                self._read_block()

    def _find_regular_end(self) -> int:
        """Return the position up to which the text has only whole records that pyarrow reads as they are."""
        text, start = self._text, self._position
        has_escapes = self._dialect.has_backslashes and text.find(b"\\", start) >= 0
        has_quotes = self._dialect.has_quotes and text.find(b'"', start) >= 0
        if not has_escapes and not has_quotes:
            return max(text.rfind(b"\n", start), text.rfind(b"\r", start), start - 1) + 1
        regular = self._dialect.patterns.regular.match(text, start)
        return start if regular is None else regular.end()

    def _read_exact(self, width: int) -> list[CsvRecord]:
        """Split records up to the end of the text, or until a run of them is regular."""
        records, start, run = list[CsvRecord](), self._position, 0
        pattern, unescape = _compile_record(self._dialect, width), self._dialect.unescape
        while len(records) < _MAX_EXACT_RECORDS and run < _REGULAR_RUN:
            match = pattern.match(self._text, self._position)
            if match is not None:
                record = CsvRecord([unescape(field) for field in match.groups()], match.end())
            elif self._position == len(self._text):
                break
            else:
                split = split_record(self._text, self._position, self._dialect, is_last=self._is_last)
                if split is None:
                    break
                if split.fault == UNCLOSED:
                    self._refuse_open_quote(split.end)
                record = split
            if self._text[self._position : record.end].strip(b"\r\n"):
                records.append(record)
            run = run + 1 if record.fault is None else 0
            self._position = record.end
        self._check_utf8(start, self._position)
        return records

    def _read_block(self) -> None:
        """Append the next block to the text, of which only the record that it ends with is kept."""
        rest = self._text[self._position :]
        if len(rest) > MAX_RECORD_BYTES:
            self._refuse_long_record()
        self._lines_before += self._text.count(b"\n", 0, self._position)
        block = next(self._blocks, None)
        self._is_last = block is None
        self._text, self._position = rest + (block or b""), 0

    def _line_of(self, position: int) -> int:
        return self._lines_before + self._text.count(b"\n", 0, position) + 1

    def _check_utf8(self, start: int, end: int) -> None:
        try:
            self._text[start:end].decode("utf-8")
        except UnicodeDecodeError as exc:
            message = f"line {self._line_of(start + exc.start)} is not UTF-8"
            raise file_refused(self._subject, Reason(code="not_utf8", message=message)) from None

    def _refuse_open_quote(self, position: int) -> NoReturn:
        code = "unbalanced_quote" if self._text.endswith((b"\n", b"\r")) else "truncated"
        message = f"a quote is opened in line {self._line_of(position)} and not closed"
        raise file_refused(self._subject, Reason(code=code, message=message))

    def _refuse_long_record(self) -> NoReturn:
        limit = f"{MAX_RECORD_BYTES >> 20} MiB"
        record = split_record(self._text, self._position, self._dialect, is_last=True)
        if record is not None and record.fault == UNCLOSED:
            message = f"a quote is opened in line {self._line_of(record.end)} and not closed within {limit}"
            raise file_refused(self._subject, Reason(code="unbalanced_quote", message=message))
        message = f"the row in line {self._line_of(self._position)} is longer than {limit}"
        raise file_refused(self._subject, Reason(code="unreadable", message=message))


@functools.lru_cache(maxsize=64)
def _compile_record(dialect: Dialect, width: int) -> re.Pattern[bytes]:
    """Compile the expression of a record of as many fields, with its line end and without wrong quotes."""
    mark = re.escape(dialect.delimiter)
    unquoted = dialect.patterns.unquoted.pattern.decode()
    field = f"({unquoted})"
    if dialect.has_quotes:
        quoted = dialect.patterns.quoted.pattern.decode()
        field = rf'({quoted}(?=[{mark}\r\n])|(?!"){unquoted})'
    return re.compile((mark.join([field] * width) + r"(?:\r\n?|\n)").encode(), re.DOTALL)
