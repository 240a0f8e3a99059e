"""Read JSON Lines: each line is an object and one row. A value is kept as text, exactly as it was written.

An empty text is null, as in CSV. Integers, numbers and booleans are accepted for a column whose type they have, and
integers also for a text column; any other value has the fault `type` in its column. docs/formats.md has the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wellspring.data.formats.encoding import ends_with_line_end, find_byte_order_mark, read_text_blocks
from wellspring.data.formats.jsonl.lines import LINE_FAULTS, MAX_LINE_BYTES
from wellspring.data.formats.jsonl.rows import RowCollector
from wellspring.data.formats.parsed import (
    ParsedBatch,
    attach_findings,
    check_header,
    default_subject,
    file_refused,
)
from wellspring.errors import Refused
from wellspring.records.content import FileContent
from wellspring.records.contracts import DataContract
from wellspring.records.verdict import Reason

MAX_UNDECLARED = 1000
"""Maximum number of different undeclared keys of a file; more are values that were written as keys."""
_CUT_FAULTS = {"not_json", "not_utf8"}
_WHITE_SPACE = b" \t\r\n"


def read_jsonl(content: FileContent, contract: DataContract, *, subject: str | None = None) -> Iterator[ParsedBatch]:
    """Yield the rows of a JSON Lines file. subject: the subject of the verdict of a refusal (default: the contract).

    A line that cannot be a row is kept, without values, with its fault (`lines.LINE_FAULTS`). Raises Refused with a
    Verdict for a file that cannot be read safely.
    """
    findings = [*find_byte_order_mark(content)]
    if not ends_with_line_end(content):
        message = "the last line has no line end: lines after it may be cut off"
        findings.append(Reason(code="no_final_newline", message=message, count=1))
    return attach_findings(_read_batches(content, contract, subject or default_subject(contract)), findings)


def count_jsonl_rows(content: FileContent, _contract: DataContract) -> int:
    """Count the lines of a file that was rejected whole. Returns 0 if they are not lines of JSON objects."""
    try:
        lines = iterate_lines(read_text_blocks(content, "count"))
        return 1 + sum(1 for _ in lines) if next(lines).startswith(b"{") else 0
    except Refused:
        return 0


def iterate_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield each line that is not blank, without the white space around it.

    Of a line longer than MAX_LINE_BYTES, one byte more than that is kept, which `parse_line` refuses.
    """
    rest = b""
    for block in blocks:
        first, *further_lines = block.split(b"\n")
        # A line that is too long already grows no more.
        rest = (rest + first)[: MAX_LINE_BYTES + 1]
        for further_line in further_lines:
            if stripped := rest.strip(_WHITE_SPACE):
                yield stripped
            rest = further_line
    if stripped := rest.strip(_WHITE_SPACE):
        yield stripped


def _read_batches(content: FileContent, contract: DataContract, subject: str) -> Iterator[ParsedBatch]:
    rows, fault = RowCollector(contract), None
    lines = iterate_lines(read_text_blocks(content, subject))
    for line in lines:
        fault = rows.add_line(line)
        if rows.row_count == 1 and fault in {"not_json", "not_object", "not_utf8"}:
            is_only_line = next(lines, None) is None
            raise file_refused(subject, _describe_first_line(line, fault, is_only_line=is_only_line))
        if len(rows.undeclared_keys) > MAX_UNDECLARED:
            message = f"it has more than {MAX_UNDECLARED} different keys that the contract does not declare"
            raise file_refused(subject, Reason(code="too_many_keys", message=message))
        if rows.is_full:
            yield rows.take_batch()
    if fault in _CUT_FAULTS and not ends_with_line_end(content):
        message = "its last line is cut off"
        raise file_refused(subject, Reason(code="truncated", message=message, count=rows.row_count))
    if (faulty := rows.fault_counts.total()) * 2 > rows.row_count:
        message = f"{faulty} of {rows.row_count} lines cannot be rows: {', '.join(sorted(rows.fault_counts))}"
        raise file_refused(subject, Reason(code="unreadable", message=message, count=faulty))
    check_header([*rows.found_names(), *rows.undeclared_keys], contract, subject)
    if not rows.is_empty:
        yield rows.take_batch()


def _describe_first_line(line: bytes, fault: str, *, is_only_line: bool) -> Reason:
    """Describe a file whose first line is not an object."""
    if line.startswith(b"{") and fault == "not_json" and is_only_line:
        return Reason(code="truncated", message="its only line is cut off", count=1)
    if line.startswith(b"["):
        message = "its first line begins a list: write one object a line, without brackets and commas around them"
        return Reason(code="unreadable", message=message)
    if line == b"{":
        message = "its first object spans several lines: write each object on one line"
        return Reason(code="unreadable", message=message)
    code = "not_utf8" if fault == "not_utf8" else "unreadable"
    return Reason(code=code, message=f"its first line is not a JSON object: {LINE_FAULTS[fault]}")
