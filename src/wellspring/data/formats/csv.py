"""CSV (RFC 4180, UTF-8, commas) -> rows as found: every field is text, an empty field is null, nothing is trimmed."""

from __future__ import annotations

import csv
import functools
import io
from typing import TYPE_CHECKING, NamedTuple

from wellspring.data.formats.parsed import FIELDS, Parsed, held_against, stopped, subject_of
from wellspring.records.data import Contract
from wellspring.records.verdict import Reason

if TYPE_CHECKING:
    import pyarrow as pa

_NARROW = 3
"""In a file of so few columns any sentence with commas looks like a row."""
_BOM = b"\xef\xbb\xbf"
_WIDE = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


class _Ragged(NamedTuple):
    """A row with too few or too many fields. number: its place in the file, the header being 1."""

    number: int
    fields: int
    text: str


def read(content: bytes, contract: Contract, *, subject: str | None = None) -> Parsed:
    """Read a whole CSV file. subject: what the verdict of a refusal is about (default: the contract).

    A row with the wrong number of fields is kept, with the fault `fields`. Raises Refused, with a Verdict whose reason
    codes are stable, for a file that cannot be read safely: see `parsed.py`.
    """
    about = subject or subject_of(contract)
    text, notes = _decoded(content, about)
    header = _header(text, contract, about)
    names = held_against(header, contract, about)
    table, ragged = _rows(text, len(names), about)
    received = table.num_rows + len(ragged)
    if received == 0:
        raise stopped(about, Reason(code="header_only", what="it has a header and no row", count=0))
    ends = text.endswith((b"\n", b"\r"))
    if ragged and ragged[-1].number == received + 1 and (ragged[-1].fields < len(names) or not ends):
        raise stopped(about, Reason(code="truncated", what="its last line is cut off", count=received))
    if len(ragged) * 2 > received:
        what = f"{len(ragged)} of {received} rows do not have the header's {len(names)} fields"
        raise stopped(about, Reason(code="ragged", what=what, count=len(ragged)))
    if not ends:
        what = "the last line has no line end: its last field may be cut off"
        notes = (*notes, Reason(code="no_final_newline", what=what, count=1))
    # More line ends than rows: some stand within quotes.
    lines_within = text.count(b"\n") > received + 1
    swallowing = _swallowing(table) if lines_within and len(names) > _NARROW else None
    return _together(table.rename_columns(names), ragged, swallowing, received, notes)


def _decoded(content: bytes, about: str) -> tuple[bytes, tuple[Reason, ...]]:
    """Check that the bytes are text; return them without a byte order mark."""
    for mark, name in _WIDE:
        if content.startswith(mark):
            raise stopped(about, Reason(code="not_utf8", what=f"it is {name}, not UTF-8"))
    notes: tuple[Reason, ...] = ()
    if content.startswith(_BOM):
        content = content[len(_BOM) :]
        notes = (Reason(code="bom", what="it begins with a UTF-8 byte order mark, which was left out", count=1),)
    if not content.strip():
        raise stopped(about, Reason(code="empty_file", what="it is empty", count=0))
    if (nul := content.count(b"\0")) > 0:
        start = content[:4096]
        # Plain letters in UTF-16 have a zero for every second byte.
        if max(start[::2].count(0), start[1::2].count(0)) * 4 > len(start):
            raise stopped(about, Reason(code="not_utf8", what="it is UTF-16 without a byte order mark, not UTF-8"))
        raise stopped(about, Reason(code="not_text", what=f"it holds {nul} NUL bytes", count=nul))
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        raise stopped(about, Reason(code="not_utf8", what=f"line {line} is not UTF-8")) from None
    if content.count(b'"') % 2:
        what = "a quote is opened and not closed"
        code = "unbalanced_quote" if content.endswith((b"\n", b"\r")) else "truncated"
        raise stopped(about, Reason(code=code, what=what))
    return content, notes


def _header(text: bytes, contract: Contract, about: str) -> list[str]:
    # Only the first record is wanted, but a quoted name may hold a line end; 1 MiB is wide enough for any header.
    start = io.StringIO(text[: 1 << 20].decode("utf-8", errors="replace"), newline="")
    try:
        header = next(record for record in csv.reader(start, strict=True) if record)
    except (csv.Error, StopIteration):
        raise stopped(about, Reason(code="unreadable", what="its header cannot be read")) from None
    if len(header) == 1 and len(contract.columns) > 1 and (found := [mark for mark in ";|\t" if mark in header[0]]):
        said = {";": "semicolons", "|": "bars", "\t": "tabs"}[found[0]]
        raise stopped(about, Reason(code="wrong_delimiter", what=f"its columns are separated by {said}, not by commas"))
    return header


def _rows(text: bytes, width: int, about: str) -> tuple[pa.Table, list[_Ragged]]:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    ragged: list[_Ragged] = []

    def keep(row: arrow_csv.InvalidRow) -> str:
        ragged.append(_Ragged(row.number, row.actual_columns, row.text))
        return "skip"

    # One block as long as the file: a row may be as long as it likes.
    block = min(len(text) + 1, 1 << 30)
    names = [str(place) for place in range(width)]
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(text),
            # One thread: only then does the reader know the numbers of the rows that it skips.
            read_options=arrow_csv.ReadOptions(use_threads=False, column_names=names, block_size=block),
            parse_options=arrow_csv.ParseOptions(
                newlines_in_values=True, ignore_empty_lines=True, invalid_row_handler=keep
            ),
            convert_options=arrow_csv.ConvertOptions(
                check_utf8=False,  # `_decoded` has
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid:
        # The reader's own message quotes the row.
        raise stopped(about, Reason(code="unreadable", what="it cannot be read as CSV")) from None
    return table.slice(1), ragged


def _swallowing(table: pa.Table) -> pa.ChunkedArray:
    """Find the rows with a field that holds what looks like another row: a quote was opened and closed far below."""
    import pyarrow.compute as pc

    row = rf"[\r\n](?:[^,\r\n]*,){{{min(table.num_columns - 1, 1000)}}}"
    each = [pc.match_substring_regex(column.fill_null(""), row) for column in table.columns]
    return functools.reduce(pc.or_, each)


def _together(
    table: pa.Table, ragged: list[_Ragged], swallowing: pa.ChunkedArray | None, received: int, notes: tuple[Reason, ...]
) -> Parsed:
    """Mark rows that swallow others; put the ragged ones back in their places, cut or filled to the header's width."""
    import pyarrow as pa
    import pyarrow.compute as pc

    marks = pa.nulls(table.num_rows, pa.string())
    if swallowing is not None:
        marks = pc.if_else(swallowing.combine_chunks(), pa.scalar(FIELDS), marks)
    if not ragged:
        return Parsed(table, pa.array(range(1, received + 1), pa.int64()), marks, notes)
    lost = {row.number - 1 for row in ragged}
    kept = [number for number in range(1, received + 1) if number not in lost]
    width = table.num_columns
    filled = [_fields(row.text, width) for row in ragged]
    more = pa.table([pa.array(column, pa.string()) for column in zip(*filled, strict=True)], names=table.column_names)
    numbers = pa.array([*kept, *(row.number - 1 for row in ragged)], pa.int64())
    faults = pa.concat_arrays([marks, pa.array([FIELDS] * len(ragged), pa.string())])
    order = pc.sort_indices(numbers)
    return Parsed(pa.concat_tables([table, more]).take(order), numbers.take(order), faults.take(order), notes)


def _fields(text: str, width: int) -> list[str | None]:
    """Split a ragged row. What is beyond the last column stays in it, so that quarantine keeps the whole row."""
    try:
        found = next(csv.reader([text.rstrip("\r\n")]), [])
    except csv.Error:
        found = [text]
    if len(found) > width:
        found = [*found[: width - 1], ",".join(found[width - 1 :])]
    return [field or None for field in found] + [None] * (width - len(found))
