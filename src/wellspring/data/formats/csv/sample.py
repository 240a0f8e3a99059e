"""Read a CSV file that has no contract yet, as text, or describe the error and its line.

The checks are those for a drop (`reader.py`), so that a file from which a contract is drafted can also be ingested.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.data.formats.csv.dialect import Dialect
from wellspring.data.formats.csv.reader import read_csv
from wellspring.data.formats.csv.records import UNCLOSED, split_record
from wellspring.data.formats.csv.rows import HEADER_FAULT
from wellspring.data.formats.csv.stream import CsvStream
from wellspring.data.formats.encoding import read_text_blocks
from wellspring.data.formats.parsed import file_refused, read_all
from wellspring.data.formats.port import FileSample
from wellspring.data.formats.sample import COLUMN_NAME, VALUE_LIKE, check_unique_names, placeholder_contract
from wellspring.errors import ProjectError, Refused
from wellspring.records.content import BytesContent
from wellspring.records.contracts import DataContract
from wellspring.records.verdict import Reason

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
    """Read a whole file as text; an empty field is null. Raises ProjectError, which never quotes a value of a row.

    A file that can be read only with backslash escapes gives the setting `escape`.
    """
    content = file.read_bytes()
    for mark, description in _NON_CSV_FORMATS.items():
        if content.startswith(mark):
            raise ProjectError(f"{file} is {description}, not CSV", fix="export it as CSV: UTF-8, commas, a header")
    header = _read_header(content)
    # The delimiter check needs a contract of two columns.
    column_count = 2 if len(header) == 1 and re.search(r"[;|\t]", header[0]) else 0
    placeholder = placeholder_contract("csv", column_count)
    try:
        rows = _read_intact(content, placeholder)
        settings: dict[str, str] = {}
    except Refused as exc:
        settings = {"escape": "backslash"}
        try:
            rows = _read_intact(content, placeholder.model_copy(update={"format_settings": settings}))
        except Refused:
            raise _describe_refusal(file, exc, content, header) from None
    _check_names(file, header, rows)
    return FileSample(rows, {}, settings)


def _read_intact(content: bytes, contract: DataContract) -> pa.Table:
    """Read a file. Raises Refused also if one row has a fault."""
    parsed = read_all(read_csv(BytesContent(content), contract))
    if faults := set(parsed.row_faults.drop_null().to_pylist()):
        code = HEADER_FAULT if faults == {HEADER_FAULT} else "fields"
        raise file_refused("sample", Reason(code=code, message="a row cannot be read"))
    return parsed.table


def _read_header(content: bytes) -> list[str]:
    try:
        return CsvStream(read_text_blocks(BytesContent(content), "sample"), Dialect(), "sample").read_header() or []
    except Refused:
        return []


def _describe_refusal(file: Path, refusal: Refused, content: bytes, header: list[str]) -> ProjectError:
    reasons = refusal.verdict.reasons if refusal.verdict is not None else ()
    code, description = (reasons[0].code, reasons[0].message) if reasons else ("", refusal.what)
    if code == HEADER_FAULT:
        return ProjectError(
            f"{file}: a row repeats the header", fix="remove the row; several files may have been joined"
        )
    if code == "fields":
        detail = _describe_fault(content, len(header)) or "a quote closes lines after it opened, with rows between"
        fix = "quote fields that contain a comma, double a quote within a field, and remove lines that are not rows"
        return ProjectError(f"{file}: {detail}", fix=fix)
    fix = _FIXES.get(code, "correct the file, or export it again")
    if code == "duplicate_header":
        description, fix = "two of its columns have the same name", "name each column once"
        if any(map(VALUE_LIKE.fullmatch, header)):
            description, fix = "its first line has values instead of column names", _HEADER_FIX
    elif code in ("ragged", "truncated", "quote") and (detail := _describe_fault(content, len(header))):
        description += f"; {detail}"
    return ProjectError(f"{file}: {description}", fix=fix)


def _describe_fault(content: bytes, width: int) -> str:
    """Describe the first record that is not a row, with its line; empty without one."""
    text, position = content.removeprefix(b"\xef\xbb\xbf"), 0
    while position < len(text):
        record = split_record(text, position, Dialect(), is_last=True)
        if record is None or record.fault == UNCLOSED:
            return ""
        line = text.count(b"\n", 0, position) + 1
        if record.fault is not None:
            return f"line {line} has text after a closing quote"
        if len(record.fields) != width and text[position : record.end].strip(b"\r\n"):
            return f"a row does not have the header's {width} fields; line {line} has {len(record.fields)}, not {width}"
        position = record.end
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
