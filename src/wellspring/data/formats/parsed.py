"""The rows of a file before validation, and the reasons to reject a whole file."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import Refused
from wellspring.records.contracts import DataContract
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.dlp.scanner import PiiScanner

if TYPE_CHECKING:
    import pyarrow as pa

ROW_NUMBER = "row_number"
RESERVED_COLUMNS = frozenset({ROW_NUMBER, "fault", "type_faults"})
"""Names that a contract may not declare: the number of a row, and the faults of a row."""
FIELDS_FAULT, UNIQUE_FAULT = "fields", "unique"
"""Faults that a row keeps through every replay: a wrong number of fields; a key that another row already used. A format
can define more (`FileFormat.row_faults`); in a row with any fault but `unique`, the values are not validated."""
_FIXES = {
    "duplicate_header": "ask the vendor to name each column once",
    "empty_file": "ask the vendor to send the file again",
    "header_only": "ask the vendor whether the file should be empty",
    "missing_column": "ask the vendor for the column, or publish a new version of the contract without it",
    "not_text": "ask the vendor for a text file without NUL bytes",
    "not_utf8": "ask the vendor to write UTF-8",
    "over_budget": "ask the vendor for less in one file; nothing raises these limits",
    "quote": "declare `escape: backslash` or `quote: none` if the vendor writes so; otherwise ask for doubled quotes",
    "ragged": "ask the vendor to quote fields that contain the delimiter",
    "truncated": "ask the vendor to send the file again",
    "type_changed": "ask the vendor what changed, or publish a new version of the contract",
    "unbalanced_quote": "ask the vendor to close every quote, and to double a quote within a field",
    "unreadable": "ask the vendor to send the file again",
    "too_many_keys": "ask the vendor for the same keys in each line; a key is a name, never a value",
    "wrong_delimiter": "ask the vendor to separate the columns with the contract's delimiter, or declare `delimiter`",
}


MAX_COLUMNS = 10_000
"""Maximum number of columns of a file; no column counts that the contract reads from within a value."""
BATCH_ROWS = 1 << 16
"""Maximum number of rows of a batch."""
BATCH_BYTES = 16 << 20
"""About the largest text of a batch of more than one row."""


class ParsedBatch(NamedTuple):
    """Successive rows of a file, as delivered. table: the columns (CSV: all text, an empty field is null; Parquet:
    typed); every batch has each declared column, and a batch of JSON Lines only those undeclared ones that it has.

    row_numbers: int64, the row number in the file, from 1. row_faults: the permanent fault of each row, or null.
    findings: about the whole file, none of which rejects it; with the last batch only. type_faults: for each row, the
    declared columns whose value has another type in the file, joined by commas, or null; None: no value has.
    """

    table: pa.Table
    row_numbers: pa.Array
    row_faults: pa.Array
    findings: tuple[Reason, ...] = ()
    type_faults: pa.Array | None = None

    @property
    def column_names(self) -> list[str]:
        return self.table.column_names

    @property
    def row_count(self) -> int:
        return self.table.num_rows


def read_all(batches: Iterable[ParsedBatch]) -> ParsedBatch:
    """Join all batches of a file, for samples and tests. Raises Refused as the reader does."""
    import pyarrow as pa

    parts = list(batches)
    type_faults = None
    if any(part.type_faults is not None for part in parts):
        faults = [part.type_faults for part in parts]
        type_faults = pa.concat_arrays(
            [pa.nulls(part.row_count, pa.string()) if fault is None else fault
             for part, fault in zip(parts, faults, strict=True)]
        )  # fmt: skip
    return ParsedBatch(
        pa.concat_tables([part.table for part in parts], promote_options="default").combine_chunks(),
        pa.concat_arrays([part.row_numbers for part in parts]),
        pa.concat_arrays([part.row_faults for part in parts]),
        tuple(finding for part in parts for finding in part.findings),
        type_faults,
    )


def attach_findings(batches: Iterable[ParsedBatch], findings: Sequence[Reason]) -> Iterator[ParsedBatch]:
    """Yield the batches, the last one with the findings, which may grow until the batches end."""
    pending: ParsedBatch | None = None
    for batch in batches:
        if pending is not None:
            yield pending
        pending = batch
    if pending is not None:
        yield pending._replace(findings=tuple(findings))


def split_batch(batch: ParsedBatch) -> Iterator[ParsedBatch]:
    """Yield the rows of a batch in batches of at most BATCH_ROWS."""
    for start in range(0, batch.row_count, BATCH_ROWS):
        yield ParsedBatch(
            batch.table.slice(start, BATCH_ROWS),
            batch.row_numbers.slice(start, BATCH_ROWS),
            batch.row_faults.slice(start, BATCH_ROWS),
            type_faults=None if batch.type_faults is None else batch.type_faults.slice(start, BATCH_ROWS),
        )


def file_refused(subject: str, *reasons: Reason) -> Refused:
    """Build the error for a file that is rejected whole."""
    message = "\n".join(f"{subject} is rejected: {reason.message}" for reason in reasons)
    verdict = Verdict(subject=subject, outcome="fail", reasons=reasons)
    return Refused(message, fix=_FIXES.get(reasons[0].code, "ask the vendor"), verdict=verdict)


def default_subject(contract: DataContract) -> str:
    """Return the subject of a verdict for a caller without a drop: the contract."""
    return f"contract:{contract.name}@{contract.version}"


def check_header(names: list[str], contract: DataContract, subject: str) -> list[str]:
    """Check the column names of a file against the contract. Returns the declared names, and the others as they are.

    Raises Refused for a duplicate name and for a missing declared column; a file of an earlier layout lacks what later
    versions of the contract added. Undeclared names are never quoted, because in a file without a header they are
    values.
    """
    declared = {column.name_in_file: column.name for column in contract.columns}
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise file_refused(subject, *(_duplicate_column(name, name in declared) for name in duplicates))
    missing = [name for name in declared if name not in names]
    if missing and not _has_earlier_layout(missing, contract):
        spellings = {fold_name(name) for name in names}
        if len(missing) == len(declared) and not spellings & {fold_name(name) for name in declared}:
            message = f"none of the {len(declared)} declared columns is in the file; is its header line missing?"
            raise file_refused(subject, Reason(code="missing_column", message=message, count=len(declared)))
        raise file_refused(
            subject, *(_missing_column(name, declared[name], similar=fold_name(name) in spellings) for name in missing)
        )
    # An undeclared column may have a reserved name, or the name that the contract gives to another one.
    taken = RESERVED_COLUMNS | set(declared.values())
    used = {*taken, *names}
    unique_names: list[str] = []
    for name in names:
        unique_name = declared.get(name, name)
        while name not in declared and unique_name in (taken if unique_name == name else used):
            unique_name = f"{unique_name}_in_file"
        used.add(unique_name)
        unique_names.append(unique_name)
    return unique_names


def _has_earlier_layout(missing: list[str], contract: DataContract) -> bool:
    """Return whether a file lacks exactly the columns that the contract has gained since one of its versions.

    A file without only some of the columns of one version has no known layout: its vendor may have renamed them.
    """
    added: dict[tuple[int, ...], set[str]] = {}
    for column in contract.columns:
        if column.added_in is not None:
            version = tuple(int(part) for part in column.added_in.split("."))
            added.setdefault(version, set()).add(column.name_in_file)
    lacking: set[str] = set()
    for version in sorted(added, reverse=True):
        lacking |= added[version]
        if lacking == set(missing):
            return True
    return False


def fold_name(name: str) -> str:
    """Return the name of a column without case, width, surrounding blanks and invisible characters."""
    visible = "".join(character for character in name if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFKC", visible).strip().casefold()


def safe_column_name(name: str, scanner: PiiScanner) -> str:
    """Mask personal data in the name of an undeclared column and cut it to 60 characters."""
    return scanner.mask_text(name)[:60] or "(no name)"


def _duplicate_column(name: str, declared: bool) -> Reason:
    shown_name = f"the column {name!r}" if declared else "an undeclared column"
    return Reason(
        code="duplicate_header", message=f"{shown_name} occurs twice in the header", column=name if declared else None
    )


def _missing_column(name_in_file: str, column: str, *, similar: bool) -> Reason:
    hint = "; the file has it in another case, or with blanks or invisible characters" if similar else ""
    message = f"the declared column {name_in_file!r} is not in the file{hint}"
    return Reason(code="missing_column", message=message, column=column)
