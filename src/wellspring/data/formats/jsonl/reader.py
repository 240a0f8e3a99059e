"""Read JSON Lines: each line is an object and one row. A value is kept as text, exactly as it was written.

An empty text is null, as in CSV. Integers, numbers and booleans are accepted for a column whose type they have, and
integers also for a text column; any other value has the fault `type` in its column. docs/formats.md has the rules.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from wellspring.data.formats.encoding import check_encoding
from wellspring.data.formats.jsonl.lines import (
    LINE_FAULTS,
    IntegerText,
    LineFault,
    NumberText,
    flatten_object,
    parse_line,
)
from wellspring.data.formats.parsed import ParsedFile, check_header, default_subject, file_refused
from wellspring.records.contracts import DataContract
from wellspring.records.verdict import Reason

MAX_UNDECLARED = 1000
"""Maximum number of different undeclared keys of a file; more are values that were written as keys."""
_CUT_FAULTS = {"not_json", "not_utf8"}
_MAX_EXACT_DIGITS = 15
"""An integer of at most this many digits has an exact float64."""


def read_jsonl(content: bytes, contract: DataContract, *, subject: str | None = None) -> ParsedFile:
    """Read a whole JSON Lines file. subject: the subject of the verdict of a refusal (default: the contract).

    A line that cannot be a row is kept, without values, with its fault (`lines.LINE_FAULTS`). Raises Refused with a
    Verdict for a file that cannot be read safely.
    """
    verdict_subject = subject or default_subject(contract)
    content, findings = check_encoding(content, verdict_subject)
    rows = _RowCollector(contract)
    for line in iterate_lines(content):
        rows.add_line(line)
        if rows.count == 1 and rows.faults[0] in {"not_json", "not_object", "not_utf8"}:
            raise file_refused(verdict_subject, _describe_first_line(line, rows.faults[0] or "", content))
        if len(rows.undeclared) > MAX_UNDECLARED:
            message = f"it has more than {MAX_UNDECLARED} different keys that the contract does not declare"
            raise file_refused(verdict_subject, Reason(code="too_many_keys", message=message))
    if not content.endswith(b"\n") and rows.faults[-1] in _CUT_FAULTS:
        message = "its last line is cut off"
        raise file_refused(verdict_subject, Reason(code="truncated", message=message, count=rows.count))
    faulty = sum(fault is not None for fault in rows.faults)
    if faulty * 2 > rows.count:
        codes = ", ".join(sorted({fault for fault in rows.faults if fault is not None}))
        message = f"{faulty} of {rows.count} lines cannot be rows: {codes}"
        raise file_refused(verdict_subject, Reason(code="unreadable", message=message, count=faulty))
    names = check_header([*rows.found_names(), *rows.undeclared], contract, verdict_subject)
    return rows.build_file(names[len(names) - len(rows.undeclared) :], findings)


def count_jsonl_rows(content: bytes, _contract: DataContract) -> int:
    """Count the lines of a file that was rejected whole. Returns 0 if they are not lines of JSON objects."""
    lines = iterate_lines(content.removeprefix(b"\xef\xbb\xbf"))
    first = next(lines, b"")
    return 1 + sum(1 for _ in lines) if first.startswith(b"{") and b"\0" not in content else 0


def iterate_lines(content: bytes) -> Iterator[bytes]:
    """Yield each line that is not blank, without the white space around it."""
    for line in io.BytesIO(content):
        if stripped := line.strip(b" \t\r\n"):
            yield stripped


def format_value(value: Any) -> str | None:
    """Return a value of a line as text; a list or an object as JSON. An empty text is null."""
    if isinstance(value, str):
        return str(value) or None
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)


class _RowCollector:
    """Collects the rows of a file by column."""

    def __init__(self, contract: DataContract) -> None:
        self._columns = contract.columns
        self._kinds = [column.type.partition("(")[0].partition("[")[0] for column in contract.columns]
        self._by_path = {column.name_in_file: index for index, column in enumerate(contract.columns)}
        self._nested = {
            ".".join(parts[:length])
            for parts in (path.split(".") for path in self._by_path)
            for length in range(1, len(parts))
        }
        self._values: list[list[str | None]] = [[] for _ in contract.columns]
        self._found_paths: set[str] = set()
        self._type_faults: list[str | None] = []
        self.faults: list[str | None] = []
        self.undeclared: dict[str, dict[int, str | None]] = {}
        """The values of each undeclared key, by row."""

    @property
    def count(self) -> int:
        return len(self.faults)

    def found_names(self) -> list[str]:
        """List the declared names that occur in a line, in the order of the contract."""
        return [path for path in self._by_path if path in self._found_paths]

    def add_line(self, line: bytes) -> None:
        """Add one row; a line that cannot be one is added without values."""
        number = len(self.faults)
        for values in self._values:
            values.append(None)
        mismatched: list[str] = []
        found_paths = self._found_paths
        try:
            entries = list(self._entries(parse_line(line)))
        except LineFault as fault:
            self.faults.append(fault.code)
            self._type_faults.append(None)
            return
        for path, value in entries:
            index = self._by_path.get(path)
            if index is None:
                self.undeclared.setdefault(path, {})[number] = format_value(value)
                if path in self._nested and value is not None:
                    mismatched += self._columns_below(path)
                continue
            found_paths.add(path)
            if value.__class__ is str:
                self._values[index][number] = value or None
                continue
            self._values[index][number] = format_value(value)
            if not _type_fits(value, self._kinds[index]):
                mismatched.append(self._columns[index].name)
        self.faults.append(None)
        self._type_faults.append(",".join(mismatched) or None)

    def build_file(self, undeclared_names: list[str], findings: tuple[Reason, ...]) -> ParsedFile:
        """Build the table: the declared columns, then the others. undeclared_names: their names in the table."""
        import pyarrow as pa

        arrays = [pa.array(values, pa.string()) for values in self._values]
        for values in self.undeclared.values():
            arrays.append(pa.array([values.get(number) for number in range(self.count)], pa.string()))
        names = [*(column.name for column in self._columns), *undeclared_names]
        return ParsedFile(
            pa.table(arrays, names=names),
            pa.array(range(1, self.count + 1), pa.int64()),
            pa.array(self.faults, pa.string()),
            findings,
            pa.array(self._type_faults, pa.string()) if any(self._type_faults) else None,
        )

    def _entries(self, value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        return flatten_object(value, self._nested) if self._nested else iter(value.items())

    def _columns_below(self, path: str) -> list[str]:
        """List the columns whose values a line cannot have, because it has another value in place of their object."""
        return [column.name for column in self._columns if column.name_in_file.startswith(f"{path}.")]


def _type_fits(value: Any, kind: str) -> bool:
    """Return whether a JSON value may stand for a value of a type. The text itself is parsed later."""
    if isinstance(value, IntegerText):
        if kind == "float64":
            return len(value) <= _MAX_EXACT_DIGITS or int(float(value)) == int(value)
        return kind in {"int64", "decimal128", "string"}
    if isinstance(value, NumberText):
        return kind in {"float64", "decimal128"}
    if isinstance(value, bool):
        return kind == "bool"
    return value is None or isinstance(value, str)


def _describe_first_line(line: bytes, fault: str, content: bytes) -> Reason:
    """Describe a file whose first line is not an object."""
    if line.startswith(b"{") and fault == "not_json" and content.strip().count(b"\n") == 0:
        return Reason(code="truncated", message="its only line is cut off", count=1)
    if line.startswith(b"["):
        message = "its first line begins a list: write one object a line, without brackets and commas around them"
        return Reason(code="unreadable", message=message)
    if line == b"{":
        message = "its first object spans several lines: write each object on one line"
        return Reason(code="unreadable", message=message)
    code = "not_utf8" if fault == "not_utf8" else "unreadable"
    return Reason(code=code, message=f"its first line is not a JSON object: {LINE_FAULTS[fault]}")
