"""The rows of a file before validation, and the reasons to reject a whole file."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import Refused
from wellspring.records.contracts import DataContract
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust import dlp

if TYPE_CHECKING:
    import pyarrow as pa

ROW_NUMBER, ROW_FAULT = "row_number", "fault"
FIELDS_FAULT, UNIQUE_FAULT = "fields", "unique"
"""Faults that a row keeps through every replay: a wrong number of fields; a key that another row already used."""
_FIXES = {
    "duplicate_header": "ask the vendor to name each column once",
    "empty_file": "ask the vendor to send the file again",
    "header_only": "ask the vendor whether the file should be empty",
    "missing_column": "ask the vendor for the column, or publish a new version of the contract without it",
    "not_text": "ask the vendor for a text file without NUL bytes",
    "not_utf8": "ask the vendor to write UTF-8",
    "ragged": "ask the vendor to quote fields that contain the delimiter",
    "truncated": "ask the vendor to send the file again",
    "type_changed": "ask the vendor what changed, or publish a new version of the contract",
    "unbalanced_quote": "ask the vendor to close every quote, and to double a quote within a field",
    "unreadable": "ask the vendor to send the file again",
    "wrong_delimiter": "ask the vendor to separate the columns with commas",
}


class ParsedFile(NamedTuple):
    """Rows as delivered. table: the columns in file order (CSV: all text, an empty field is null; Parquet: typed).

    row_numbers: int64, the row number in the file, from 1. row_faults: the permanent fault of each row, or null.
    findings: about the whole file, none of which rejects it.
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
        """Return one table of rows, row numbers and faults, for storage."""
        return self.table.append_column(ROW_NUMBER, self.row_numbers).append_column(ROW_FAULT, self.row_faults)


def unpack_rows(table: pa.Table) -> ParsedFile:
    """Reverse `ParsedFile.pack_rows`."""
    row_numbers, row_faults = table[ROW_NUMBER].combine_chunks(), table[ROW_FAULT].combine_chunks()
    return ParsedFile(table.drop_columns([ROW_NUMBER, ROW_FAULT]), row_numbers, row_faults)


def file_refused(subject: str, *reasons: Reason) -> Refused:
    """Build the error for a file that is rejected whole."""
    message = "\n".join(f"{subject} is rejected: {reason.message}" for reason in reasons)
    verdict = Verdict(subject=subject, outcome="fail", reasons=reasons)
    return Refused(message, fix=_FIXES.get(reasons[0].code, "ask the vendor"), verdict=verdict)


def default_subject(contract: DataContract) -> str:
    """Return the subject of a verdict for a caller without a drop: the contract."""
    return f"contract:{contract.name}@{contract.version}"


def check_header(names: list[str], contract: DataContract, subject: str) -> list[str]:
    """Check the column names of a file against the contract. Returns them with reserved names changed.

    Raises Refused for a duplicate name and for a missing declared column. Undeclared names are never quoted, because
    in a file without a header they are values.
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
    # A contract may not declare these two reserved names, so such a column of a file is undeclared.
    return [f"{name}_in_file" if name in {ROW_NUMBER, ROW_FAULT} else name for name in names]


def safe_column_name(name: str) -> str:
    """Mask personal data in the name of an undeclared column and cut it to 60 characters."""
    return dlp.mask_text(name)[:60] or "(no name)"


def _duplicate_column(name: str, declared: bool) -> Reason:
    shown_name = f"the column {name!r}" if declared else "an undeclared column"
    return Reason(
        code="duplicate_header", message=f"{shown_name} occurs twice in the header", column=name if declared else None
    )


def _missing_column(name: str, similar: bool) -> Reason:
    hint = "; the header has it in another case or with spaces around it" if similar else ""
    return Reason(code="missing_column", message=f"the declared column {name!r} is not in the file{hint}", column=name)
