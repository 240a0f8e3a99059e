"""Collect the lines of a JSON Lines file as batches of rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from wellspring.data.formats.jsonl.lines import IntegerText, LineFault, NumberText, flatten_object, parse_line
from wellspring.data.formats.parsed import (
    BATCH_BYTES,
    BATCH_ROWS,
    ParsedBatch,
    check_header,
    default_subject,
    fold_name,
)
from wellspring.records.contracts import DataContract

_MAX_EXACT_DIGITS = 15
"""An integer of at most this many digits has an exact float64."""
_MAX_REMEMBERED = 2000
"""Maximum number of undeclared keys whose spelling is compared once only."""
_MAX_CELLS = 1 << 21
"""Maximum number of values of a batch, nulls included: a file with many keys has batches of fewer rows."""


class RowCollector:
    """Collects rows by column, one batch at a time, and counts what concerns the whole file.

    row_count: the rows of the file so far. fault_counts: its lines that cannot be rows, by fault. undeclared_keys: the
    undeclared keys of the file, in the order of their first occurrence.
    """

    def __init__(self, contract: DataContract) -> None:
        self.row_count = 0
        self.fault_counts = Counter[str]()
        self.undeclared_keys: dict[str, None] = {}
        self._contract = contract
        self._columns = contract.columns
        self._kinds = [column.type.partition("(")[0].partition("[")[0] for column in contract.columns]
        self._by_path = {column.name_in_file: index for index, column in enumerate(contract.columns)}
        self._nested = {
            ".".join(parts[:length])
            for parts in (path.split(".") for path in self._by_path)
            for length in range(1, len(parts))
        }
        self._found_paths: set[str] = set()
        self._folded = {fold_name(path): path for path in (*self._nested, *self._by_path)}
        self._similar: dict[str, str | None] = {}
        self._clear_batch()

    @property
    def is_empty(self) -> bool:
        """Return whether the batch has no row."""
        return not self._faults

    @property
    def is_full(self) -> bool:
        """Return whether the batch is as large as a batch may be."""
        cells = len(self._faults) * (len(self._columns) + len(self._undeclared))
        return len(self._faults) >= BATCH_ROWS or self._batch_bytes >= BATCH_BYTES or cells >= _MAX_CELLS

    def found_names(self) -> list[str]:
        """List the declared names that occur in a line of the file, in the order of the contract."""
        return [path for path in self._by_path if path in self._found_paths]

    def add_line(self, line: bytes) -> str | None:
        """Add one row, and return its fault. A line that cannot be a row is added without values."""
        number = len(self._faults)
        self.row_count += 1
        self._batch_bytes += len(line)
        for values in self._values:
            values.append(None)
        mismatched: list[str] = []
        found_paths = self._found_paths
        try:
            entries = list(self._entries(parse_line(line)))
        except LineFault as fault:
            self.fault_counts[fault.code] += 1
            self._faults.append(fault.code)
            self._type_faults.append(None)
            return fault.code
        for path, value in entries:
            index = self._by_path.get(path)
            if index is None:
                self.undeclared_keys.setdefault(path)
                self._undeclared.setdefault(path, {})[number] = format_value(value)
                if path in self._nested and value is not None:
                    mismatched += self._columns_below(path)
                elif value is not None and (similar := self._find_similar(path)) is not None:
                    mismatched += self._columns_missed(similar, entries)
                continue
            found_paths.add(path)
            if value.__class__ is str:
                self._values[index][number] = value or None
                continue
            self._values[index][number] = format_value(value)
            if not _type_fits(value, self._kinds[index]):
                mismatched.append(self._columns[index].name)
        self._faults.append(None)
        self._type_faults.append(",".join(mismatched) or None)
        return None

    def take_batch(self) -> ParsedBatch:
        """Return the collected rows and begin the next batch. Its columns: the declared ones, then the others."""
        import pyarrow as pa

        declared = [column.name_in_file for column in self._columns]
        names = check_header([*declared, *self._undeclared], self._contract, default_subject(self._contract))
        count = len(self._faults)
        arrays = [pa.array(values, pa.string()) for values in self._values]
        for values in self._undeclared.values():
            arrays.append(pa.array([values.get(number) for number in range(count)], pa.string()))
        batch = ParsedBatch(
            pa.table(arrays, names=names),
            pa.array(range(self.row_count - count + 1, self.row_count + 1), pa.int64()),
            pa.array(self._faults, pa.string()),
            type_faults=pa.array(self._type_faults, pa.string()) if any(self._type_faults) else None,
        )
        self._clear_batch()
        return batch

    def _clear_batch(self) -> None:
        self._batch_bytes = 0
        self._values: list[list[str | None]] = [[] for _ in self._columns]
        self._undeclared: dict[str, dict[int, str | None]] = {}
        self._faults: list[str | None] = []
        self._type_faults: list[str | None] = []

    def _entries(self, value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        return flatten_object(value, self._nested) if self._nested else iter(value.items())

    def _find_similar(self, path: str) -> str | None:
        """Return the declared path that an undeclared one differs from only in case, blanks or invisible characters."""
        if path not in self._similar and len(self._similar) <= _MAX_REMEMBERED:
            self._similar[path] = self._folded.get(fold_name(path))
        return self._similar[path] if path in self._similar else self._folded.get(fold_name(path))

    def _columns_missed(self, path: str, entries: list[tuple[str, Any]]) -> list[str]:
        """List the columns that a line gives under another spelling of their key, and not under the key itself."""
        line_paths = {entry_path for entry_path, _ in entries}
        return [
            column.name
            for column in self._columns
            if (column.name_in_file == path or column.name_in_file.startswith(f"{path}."))
            and column.name_in_file not in line_paths
        ]

    def _columns_below(self, path: str) -> list[str]:
        """List the columns whose values a line cannot have, because it has another value in place of their object."""
        return [column.name for column in self._columns if column.name_in_file.startswith(f"{path}.")]


def format_value(value: Any) -> str | None:
    """Return a value of a line as text; a list or an object as JSON. An empty text is null."""
    if isinstance(value, str):
        return str(value) or None
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)


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
