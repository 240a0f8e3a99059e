"""A file's rows as they were found, before anybody judged them, and the ways in which a file is stopped whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import Refused
from wellspring.records.data import DataContract
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust import dlp

if TYPE_CHECKING:
    import pyarrow as pa

ROW_NUMBER, ROW_FAULT = "row_number", "fault"
FIELDS_FAULT, UNIQUE_FAULT = "fields", "unique"
"""Faults that a row keeps through every replay: it had too few or too many fields; its key left with another row."""
_FIXES = {
    "duplicate_header": "ask the vendor to name each column once",
    "empty_file": "ask the vendor to send the file again",
    "header_only": "ask the vendor whether there was nothing to send",
    "missing_column": "ask the vendor for the column, or publish a new version of the contract without it",
    "not_text": "ask the vendor for a text file; this one holds NUL bytes",
    "not_utf8": "ask the vendor to write UTF-8",
    "ragged": "ask the vendor to quote fields that hold the delimiter",
    "truncated": "ask the vendor to send the file again",
    "type_changed": "ask the vendor what changed, or publish a new version of the contract",
    "unbalanced_quote": "ask the vendor to close every quote, and to double a quote within a field",
    "unreadable": "ask the vendor to send the file again",
    "wrong_delimiter": "ask the vendor to separate columns by commas",
}


class ParsedFile(NamedTuple):
    """Rows as found. table: the file's columns in file order (CSV: all text, an empty field is null; Parquet: typed).

    row_numbers: int64, each row's place in the file from 1. faults: what the reader already found wrong, or null.
    notes: findings about the whole file that did not stop it.
    """

    table: pa.Table
    row_numbers: pa.Array
    row_faults: pa.Array
    findings: tuple[Reason, ...] = ()

    @property
    def column_names(self) -> list[str]:
        return self.table.column_names

    @property
    def row_count(self) -> int:
        return self.table.num_rows

    def pack_rows(self) -> pa.Table:
        """Write rows, row numbers and faults into one table, for keeping."""
        return self.table.append_column(ROW_NUMBER, self.row_numbers).append_column(ROW_FAULT, self.row_faults)


def unpack_rows(table: pa.Table) -> ParsedFile:
    """Read what `Parsed.pack` wrote."""
    row_numbers, row_faults = table[ROW_NUMBER].combine_chunks(), table[ROW_FAULT].combine_chunks()
    return ParsedFile(table.drop_columns([ROW_NUMBER, ROW_FAULT]), row_numbers, row_faults)


def file_refused(subject: str, *reasons: Reason) -> Refused:
    """Make the refusal of a file that is stopped whole."""
    message = "\n".join(f"{subject} is stopped whole: {reason.message}" for reason in reasons)
    verdict = Verdict(subject=subject, outcome="fail", reasons=reasons)
    return Refused(message, fix=_FIXES.get(reasons[0].code, "ask the vendor"), verdict=verdict)


def default_subject(contract: DataContract) -> str:
    """Name what is judged when the caller has no drop yet."""
    return f"contract:{contract.name}@{contract.version}"


def check_header(names: list[str], contract: DataContract, subject: str) -> list[str]:
    """Hold a file's column names against the contract; return them as the house will call them.

    Raises Refused for a name that stands twice and for a declared column that is absent. A name that the contract does
    not know is never quoted in a refusal: in a file without a header it is a person's value.
    """
    declared = [column.name for column in contract.columns]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise file_refused(subject, *(_duplicate_column(name, name in declared) for name in duplicates))
    missing = [name for name in declared if name not in names]
    if missing:
        normalized = {name.strip().casefold(): name for name in names}
        if len(missing) == len(declared) and not normalized.keys() & {name.casefold() for name in declared}:
            message = f"none of the {len(declared)} declared columns is in the header; is the header line missing?"
            raise file_refused(subject, Reason(code="missing_column", message=message, count=len(declared)))
        raise file_refused(subject, *(_missing_column(name, name.casefold() in normalized) for name in missing))
    # These two names are the house's own: no contract may declare them, so such a column of a file is undeclared.
    return [f"{name}_in_file" if name in {ROW_NUMBER, ROW_FAULT} else name for name in names]


def safe_column_name(name: str) -> str:
    """Write the name of an undeclared column so that it cannot carry a value out."""
    return dlp.mask_text(name)[:60] or "(no name)"


def _duplicate_column(name: str, declared: bool) -> Reason:
    shown_name = f"the column {name!r}" if declared else "an undeclared column"
    return Reason(
        code="duplicate_header", message=f"{shown_name} stands twice in the header", column=name if declared else None
    )


def _missing_column(name: str, similar: bool) -> Reason:
    hint = "; the header has it in other letters or with spaces around it" if similar else ""
    return Reason(code="missing_column", message=f"the declared column {name!r} is not in the file{hint}", column=name)
