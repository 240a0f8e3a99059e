"""A file's rows as they were found, before anybody judged them, and the ways in which a file is stopped whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import Refused
from wellspring.records.data import Contract
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust import dlp

if TYPE_CHECKING:
    import pyarrow as pa

ROW, FAULT = "row_number", "fault"
FIELDS, UNIQUE = "fields", "unique"
"""Faults that a row keeps through every replay: it had too few or too many fields; its key left with another row."""
_MEND = {
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


class Parsed(NamedTuple):
    """Rows as found. table: the file's columns in file order (CSV: all text, an empty field is null; Parquet: typed).

    row_numbers: int64, each row's place in the file from 1. faults: what the reader already found wrong, or null.
    notes: findings about the whole file that did not stop it.
    """

    table: pa.Table
    row_numbers: pa.Array
    faults: pa.Array
    notes: tuple[Reason, ...] = ()

    @property
    def names(self) -> list[str]:
        return self.table.column_names

    @property
    def rows(self) -> int:
        return self.table.num_rows

    def pack(self) -> pa.Table:
        """Write rows, row numbers and faults into one table, for keeping."""
        return self.table.append_column(ROW, self.row_numbers).append_column(FAULT, self.faults)


def unpack(table: pa.Table) -> Parsed:
    """Read what `Parsed.pack` wrote."""
    numbers, faults = table[ROW].combine_chunks(), table[FAULT].combine_chunks()
    return Parsed(table.drop_columns([ROW, FAULT]), numbers, faults)


def stopped(subject: str, *reasons: Reason) -> Refused:
    """Make the refusal of a file that is stopped whole."""
    what = "\n".join(f"{subject} is stopped whole: {reason.what}" for reason in reasons)
    verdict = Verdict(subject=subject, outcome="fail", reasons=reasons)
    return Refused(what, fix=_MEND.get(reasons[0].code, "ask the vendor"), verdict=verdict)


def subject_of(contract: Contract) -> str:
    """Name what is judged when the caller has no drop yet."""
    return f"contract:{contract.name}@{contract.version}"


def held_against(names: list[str], contract: Contract, subject: str) -> list[str]:
    """Hold a file's column names against the contract; return them as the house will call them.

    Raises Refused for a name that stands twice and for a declared column that is absent. A name that the contract does
    not know is never quoted in a refusal: in a file without a header it is a person's value.
    """
    declared = [column.name for column in contract.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise stopped(subject, *(_twice(name, name in declared) for name in twice))
    missing = [name for name in declared if name not in names]
    if missing:
        loose = {name.strip().casefold(): name for name in names}
        if len(missing) == len(declared) and not loose.keys() & {name.casefold() for name in declared}:
            what = f"none of the {len(declared)} declared columns is in the header; is the header line missing?"
            raise stopped(subject, Reason(code="missing_column", what=what, count=len(declared)))
        raise stopped(subject, *(_missing(name, name.casefold() in loose) for name in missing))
    # These two names are the house's own: no contract may declare them, so such a column of a file is undeclared.
    return [f"{name}_in_file" if name in {ROW, FAULT} else name for name in names]


def undeclared_name(name: str) -> str:
    """Write the name of an undeclared column so that it cannot carry a value out."""
    return dlp.mask(name)[:60] or "(no name)"


def _twice(name: str, known: bool) -> Reason:
    called = f"the column {name!r}" if known else "an undeclared column"
    return Reason(code="duplicate_header", what=f"{called} stands twice in the header", column=name if known else None)


def _missing(name: str, close: bool) -> Reason:
    hint = "; the header has it in other letters or with spaces around it" if close else ""
    return Reason(code="missing_column", what=f"the declared column {name!r} is not in the file{hint}", column=name)
