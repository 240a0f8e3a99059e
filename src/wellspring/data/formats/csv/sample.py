"""Read a CSV file that has no contract yet, as text, or describe the error and its line.

The checks are those for a drop (`reader.py`), so that a file from which a contract is drafted can also be ingested.
"""

from __future__ import annotations

import csv as standard
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.data.formats.csv.reader import read_csv
from wellspring.data.formats.parsed import read_all
from wellspring.data.formats.port import FileSample
from wellspring.data.formats.sample import COLUMN_NAME, VALUE_LIKE, check_unique_names, placeholder_contract
from wellspring.errors import ProjectError, Refused
from wellspring.records.content import BytesContent

if TYPE_CHECKING:
    import pyarrow as pa

_NON_CSV_FORMATS = {b"PAR1": "Parquet", b"PK\x03\x04": "a workbook or a zip file", b"\x1f\x8b": "compressed"}
_FIXES = {
    "not_utf8": "save it as UTF-8; if it is Latin-1: `iconv -f latin1 -t utf8 OLD > NEW`",
    "wrong_delimiter": "save it with commas between the columns",
    "empty_file": "use a file with a header and rows",
    "header_only": "use a file with rows, from which the contract can be inferred",
}
_NAME_WORDS = re.compile(
    r"\b(id|name|number|no|date|time|code|type|kind|status|amount|price|cost|total|count|address|phone|e?mail|zip|city"
    r"|state|country|birth|age|sex|gender|member|patient|provider|order|customer)\b",
    re.IGNORECASE,
)
"""Words that occur in column names and rarely in values; only a name with such a word is quoted in an error."""
_HEADER_FIX = "insert a header line with unique names of letters, digits and _"


def read_csv_sample(file: Path) -> FileSample:
    """Read a whole file as text; an empty field is null. Raises ProjectError, which never quotes a value of a row."""
    content = file.read_bytes()
    for mark, description in _NON_CSV_FORMATS.items():
        if content.startswith(mark):
            raise ProjectError(f"{file} is {description}, not CSV", fix="export it as CSV: UTF-8, commas, a header")
    header = next(_read_records(content), [])
    try:
        # The delimiter check needs a contract of two columns.
        placeholder = placeholder_contract("csv", 2 if len(header) == 1 and re.search(r"[;|\t]", header[0]) else 0)
        parsed = read_all(read_csv(BytesContent(content), placeholder))
    except Refused as exc:
        reasons = exc.verdict.reasons if exc.verdict is not None else ()
        code, description = (reasons[0].code, reasons[0].message) if reasons else ("", exc.what)
        fix = _FIXES.get(code, "correct the file, or export it again")
        if code == "duplicate_header":
            description, fix = "two of its columns have the same name", "name each column once"
            if any(map(VALUE_LIKE.fullmatch, header)):
                description, fix = "its first line has values instead of column names", _HEADER_FIX
        raise ProjectError(f"{file}: {description}{_line_hint(code, content, len(header))}", fix=fix) from None
    rows = parsed.table
    _check_names(file, header, rows)
    if parsed.row_faults.null_count < len(parsed.row_faults):
        hint = (
            _line_hint("ragged", content, len(header)) or "; a quote probably opens there and closes some lines later"
        )
        raise ProjectError(
            f"{file}: a row does not have the header's {len(header)} fields{hint}",
            fix="quote fields that contain a comma, and remove lines that are not rows",
        )
    return FileSample(rows, {})


def _read_records(content: bytes) -> Iterator[list[str]]:
    reader = standard.reader(io.StringIO(content.decode("utf-8", errors="replace").removeprefix("\ufeff"), newline=""))
    try:
        yield from (record for record in reader if record)
    except standard.Error:
        return


def _line_hint(code: str, content: bytes, width: int) -> str:
    """Describe the line of the error; empty if one line cannot be determined."""
    if code in ("unbalanced_quote", "truncated") and content.count(b'"') % 2:
        line = next(
            number for number, text_line in enumerate(content.split(b"\n"), start=1) if text_line.count(b'"') % 2
        )
        return f"; the first line with an odd number of quotes is line {line}"
    if code not in ("ragged", "truncated"):
        return ""
    reader = standard.reader(io.StringIO(content.decode("utf-8").removeprefix("\ufeff"), newline=""))
    try:
        for record in reader:
            if record and len(record) != width:
                return f"; line {reader.line_num} has {len(record)}, not {width}"
    except standard.Error:
        return ""
    return ""


def _check_names(file: Path, header: list[str], rows: pa.Table) -> None:
    """Check the column names. A header that looks like values is not quoted in the error."""
    import pyarrow.compute as pc

    values = [number for number, name in enumerate(header, start=1) if VALUE_LIKE.fullmatch(name)]
    values += [
        number for number, name in enumerate(header, start=1)
        if pc.any(pc.equal(rows.column(number - 1), name)).as_py()
    ]  # fmt: skip
    if values:
        raise ProjectError(
            f"{file}: its first line has a value, or nothing, instead of the name of column {values[0]}",
            fix=_HEADER_FIX,
        )
    for number, name in enumerate(header, start=1):
        if not COLUMN_NAME.fullmatch(name):
            hint = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
            is_name_like = _NAME_WORDS.search(name.replace("_", " ")) and COLUMN_NAME.fullmatch(hint)
            quoted_name = f" {name[:40]!r}" if is_name_like else ""
            new_name = hint if is_name_like else f"column_{number}"
            raise ProjectError(
                f"{file}: the name{quoted_name} of column {number} has characters other than letters, digits and _",
                fix=f"name it {new_name}; if the first line has values, {_HEADER_FIX}",
            )
    check_unique_names(file, header)
