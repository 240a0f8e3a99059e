"""The dialect of a CSV file, as its contract declares it, and the expressions that read it."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from wellspring.records.contracts import DataContract

DELIMITER_NAMES = {",": "commas", ";": "semicolons", "|": "bars", "\t": "tabs"}
"""The valid values of the setting `delimiter`."""
SETTINGS = {"delimiter": tuple(DELIMITER_NAMES), "quote": ('"', "none"), "escape": ("double", "backslash")}
"""The settings of a contract; the first value of each is the default."""


class Patterns(NamedTuple):
    """Expressions over the bytes of a file. Each matches at the position where it is applied.

    quoted: a field in quotes with its quotes. unquoted: a field without. regular: as many whole records as possible in
    which each closing quote ends its field. escaped: a character that the escape stands before.
    """

    quoted: re.Pattern[bytes]
    unquoted: re.Pattern[bytes]
    regular: re.Pattern[bytes]
    escaped: re.Pattern[bytes]


class Dialect(NamedTuple):
    """How a file separates, quotes and escapes its fields. The values are those of the settings."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = "double"

    @property
    def has_quotes(self) -> bool:
        return self.quote != "none"

    @property
    def has_backslashes(self) -> bool:
        return self.escape == "backslash"

    @property
    def patterns(self) -> Patterns:
        """Return the compiled expressions."""
        return _compile_patterns(self)

    @property
    def field_ends(self) -> tuple[bytes, ...]:
        """Return what may follow a field."""
        return (self.delimiter.encode(), b"\r", b"\n")

    def unescape(self, field: bytes) -> bytes:
        """Return the value of a field, as it stands in the file."""
        if b'"' not in field and b"\\" not in field:
            return field
        quoted = self.has_quotes and field[:1] == b'"'
        value = field[1:-1] if quoted else field
        if self.has_backslashes:
            return self.patterns.escaped.sub(rb"\1", value) if b"\\" in value else value
        return value.replace(b'""', b'"') if quoted and b'""' in value else value


def read_dialect(contract: DataContract) -> Dialect:
    """Return the dialect that a contract declares."""
    settings = contract.format_settings
    return Dialect(settings.get("delimiter", ","), settings.get("quote", '"'), settings.get("escape", "double"))


def _regular_records(dialect: Dialect, mark: str, line_end: str) -> str:
    """Return the expression of whole records that pyarrow reads as `records.split_record` does."""
    escape, value = ("\\\\", r"(?:[^\"\\]++|%s)") if dialect.has_backslashes else ("", r'(?:[^"]++|"")')
    # pyarrow drops each backslash, and a line end at the end of a row, so that other escapes are not regular.
    pair = rf'\\["\\{mark}]'
    text = rf'[^"\r\n{escape}]++' if dialect.has_quotes else rf"[^\r\n{escape}]++"
    parts = [text]
    if dialect.has_backslashes:
        parts.append(f'{pair}"*+')
        value = value % pair
    if dialect.has_quotes:
        # A quote within a field without quotes is a character like any other.
        parts += [rf'(?!\A)(?<![{mark}\r\n])"', rf'"{value}*+"(?=[{mark}\r\n])']
    return f"(?:(?:{'|'.join(parts)})*+{line_end})*+"


@functools.cache
def _compile_patterns(dialect: Dialect) -> Patterns:
    mark = re.escape(dialect.delimiter)
    line_end = r"(?:\r\n?|\n)"
    if dialect.has_backslashes:
        quoted, unquoted = r'"(?:[^"\\]++|\\.)*+"', rf"(?:[^{mark}\r\n\\]++|\\(?:.|\Z))*+"
    else:
        quoted, unquoted = r'"(?:[^"]++|"")*+"', rf"[^{mark}\r\n]*+"
    escaped = rf'\\(["\\{mark}\r\n])'
    expressions = (quoted, unquoted, _regular_records(dialect, mark, line_end), escaped)
    return Patterns(*(re.compile(expression.encode(), re.DOTALL) for expression in expressions))
