"""A CSV file that no contract is of yet -> its rows as text; or what is wrong with it, and on which line.

It is held to what a drop is held to (`csv.py`), so that a file that a contract was drafted from can be received too.
"""

from __future__ import annotations

import csv as standard
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.data.formats import csv
from wellspring.data.formats.parsed import FAULT, ROW
from wellspring.errors import ProjectError, Refused
from wellspring.records.clock import SystemClock
from wellspring.records.data import Column, Contract

if TYPE_CHECKING:
    import pyarrow as pa

_OTHER = {b"PAR1": "Parquet", b"PK\x03\x04": "a workbook or a zip file", b"\x1f\x8b": "compressed"}
_FIX = {
    "not_utf8": "save it as UTF-8: `iconv -f latin1 -t utf8 OLD > NEW`, if that is what it is",
    "wrong_delimiter": "save it with commas",
    "empty_file": "take a file with a header and rows",
    "header_only": "take a file with rows, so that there is something to guess from",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_VALUE = re.compile(r"[-+]?[0-9][-0-9.,:/ TZ+]*|.*@.*|")
_SPEAKS = re.compile(
    r"\b(id|name|number|no|date|time|code|type|kind|status|amount|price|cost|total|count|address|phone|e?mail|zip|city"
    r"|state|country|birth|age|sex|gender|member|patient|provider|order|customer)\b",
    re.IGNORECASE,
)
"""What stands in the name of a column, and hardly in a value: only such a name is said again."""
_HEADER = "put a line of names above it: letters, digits and _, each name once"


def read(file: Path) -> pa.Table:
    """Read a whole file as text, an empty field as null. Raises ProjectError; no value of a row is ever quoted."""
    content = file.read_bytes()
    for mark, what in _OTHER.items():
        if content.startswith(mark):
            raise ProjectError(f"{file} is {what}, not CSV", fix="export it as CSV: UTF-8, commas, a header")
    header = next(_records(content), [])
    try:
        # Of one column nothing can be said of what is between columns, so a second one is asked for.
        parsed = csv.read(content, _nothing_known(2 if len(header) == 1 and re.search(r"[;|\t]", header[0]) else 0))
    except Refused as wrong:
        reasons = wrong.verdict.reasons if wrong.verdict is not None else ()
        code, what = (reasons[0].code, reasons[0].what) if reasons else ("", wrong.what)
        fix = _FIX.get(code, "mend it, or export it again")
        if code == "duplicate_header":
            what, fix = "two of its columns have the same name", "name each column once"
            if any(map(_VALUE.fullmatch, header)):
                what, fix = "its first line holds values where the names of the columns should be", _HEADER
        raise ProjectError(f"{file}: {what}{_where(code, content, len(header))}", fix=fix) from None
    rows = parsed.table
    _named(file, header, rows)
    if parsed.faults.null_count < len(parsed.faults):
        where = _where("ragged", content, len(header)) or "; a quote seems to be opened and closed some lines below"
        raise ProjectError(
            f"{file}: a row does not have the header's {len(header)} fields{where}",
            fix="quote fields that hold a comma, and take out lines that are no rows",
        )
    return rows


def _records(content: bytes) -> Iterator[list[str]]:
    reader = standard.reader(io.StringIO(content.decode("utf-8", errors="replace").removeprefix("\ufeff"), newline=""))
    try:
        yield from (record for record in reader if record)
    except standard.Error:
        return


def _nothing_known(columns: int) -> Contract:
    return Contract(
        tenant="nobody", known_since=SystemClock().now(), name="draft", version="0.0.0",
        digest=hashlib.sha256(b"").hexdigest(), source="draft", files="*", format="csv", owner="nobody",
        contact="nobody",
        columns=tuple(Column(name=f"{n}", type="string", leaves="never", classification="") for n in range(columns)),
    )  # fmt: skip


def _where(code: str, content: bytes, width: int) -> str:
    """Say on which line it is, where one line can be named."""
    if code in ("unbalanced_quote", "truncated") and content.count(b'"') % 2:
        line = next(number for number, each in enumerate(content.split(b"\n"), start=1) if each.count(b'"') % 2)
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


def _named(file: Path, header: list[str], rows: pa.Table) -> None:
    """Hold the names of the columns against what one can be; values where names should be are not quoted."""
    import pyarrow.compute as pc

    values = [number for number, each in enumerate(header, start=1) if _VALUE.fullmatch(each)]
    values += [
        number for number, each in enumerate(header, start=1)
        if pc.any(pc.equal(rows.column(number - 1), each)).as_py()
    ]  # fmt: skip
    if values:
        raise ProjectError(
            f"{file}: its first line holds a value, or nothing, where the name of column {values[0]} should be",
            fix=_HEADER,
        )
    for number, each in enumerate(header, start=1):
        if not _NAME.fullmatch(each):
            hint = re.sub(r"[^a-z0-9]+", "_", each.lower()).strip("_")
            speaks = _SPEAKS.search(each.replace("_", " ")) and _NAME.fullmatch(hint)
            called = f" {each[:40]!r}" if speaks else ""
            raise ProjectError(
                f"{file}: the name{called} of column {number} has more in it than letters, digits and _",
                fix=f"call it {hint if speaks else f'column_{number}'}; if the first line holds values, {_HEADER}",
            )
    if len({each.casefold() for each in header}) < len(header):
        raise ProjectError(f"{file}: two of its columns have the same name", fix="name each column once")
    if ours := sorted({ROW, FAULT} & {each.casefold() for each in header}):
        raise ProjectError(f"{file}: {ours[0]} is a name of the house's own", fix="give the column another name")
